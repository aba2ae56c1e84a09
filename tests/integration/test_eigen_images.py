"""The generator of eigen-images, which the report on photographs uses as a file of one's own."""

import numpy as np
import torch
from eigen_images import export, fit
from sklearn.decomposition import PCA


def test_it_is_principal_component_analysis_with_latents_of_unit_variance(tmp_path):
    images = torch.rand(30, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    generator = fit(images.double(), 5)
    reference = PCA(5, whiten=True).fit(images.flatten(1).double().numpy())
    flat = images.flatten(1).double()
    z = (flat - generator.mean) @ torch.linalg.pinv(generator.components)
    np.testing.assert_allclose(z.var(0), 1, rtol=1e-6)
    expected = reference.inverse_transform(reference.transform(flat.numpy()))
    np.testing.assert_allclose(generator(z).flatten(1), expected.clip(0, 1), atol=1e-9)
    export(generator.float(), 5, tmp_path / "eigen.pt2")
    loaded = torch.export.load(tmp_path / "eigen.pt2").module()
    for n in (1, 7):
        torch.testing.assert_close(loaded(z[:n].float()), generator.float()(z[:n].float()))
