"""A real Ray of two raylets on loopback, each of which says that it has two CPUs, and one that it has a GPU."""

import shutil
import signal
import tempfile
import time
from pathlib import Path

CPUS = 2


class RayCluster:
    """``address`` is that of its head."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.folder = tempfile.mkdtemp(prefix="ray-")  # short, for a socket's path
        Path("/tmp/ray").mkdir(exist_ok=True)  # Ray writes there which cluster is the last
        node = {"num_cpus": CPUS, "num_gpus": 0, "object_store_memory": 100 * 2**20, "include_dashboard": False}
        config = {"worker_niceness": 0}  # by default all that is begun on a machine comes before it
        head = {**node, "temp_dir": self.folder, "_system_config": config}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._other = self._cluster.add_node(num_cpus=CPUS, num_gpus=1, object_store_memory=100 * 2**20)
        self._cluster.wait_for_nodes()
        self.address = self._cluster.address

    def kill_the_other_raylet(self) -> None:
        """As a machine that loses its power, but for the processes that the raylet has started."""
        self._signal(self._other, "raylet")

    def kill_the_head(self) -> None:
        """Where all is known of the cluster."""
        self._signal(self._cluster.head_node, "gcs_server")

    def end(self) -> None:
        self._cluster.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _signal(node, kind: str) -> None:
        (found,) = node.all_processes[kind]
        found.process.send_signal(signal.SIGKILL)
        found.process.wait(10)


def wait_for(true, seconds: float = 90.0):
    """What ``true()`` gives, as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.2)
    return found
