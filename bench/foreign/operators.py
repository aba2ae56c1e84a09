"""Which of torch's operators a network of somebody else may use.

Every one of them makes tensors and numbers of tensors and numbers, and does nothing else: none reads or writes files,
talks to a network or another process, or changes what other methods of this process meet. What is not here is refused
by its name, so an operator of a later torch, too, stays outside until somebody has looked at it.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Underscores at the end, the forms that work in place, are left out.
TENSORS = _words("""
__and__ __iand__ __ilshift__ __ior__ __irshift__ __ixor__ __lshift__ __or__ __rshift__ __xor__ _adaptive_avg_pool2d
_adaptive_avg_pool3d _add_relu _addmm_activation _aminmax _assert_async _assert_scalar _assert_tensor_metadata
_batch_norm_impl_index _cast_Byte _cast_Char _cast_Double _cast_Float _cast_Half _cast_Int _cast_Long _cast_Short
_cdist_forward _cholesky_solve_helper _conj _conj_physical _conv_depthwise2d _convolution _convolution_mode
_cummax_helper _cummin_helper _dim_arange _embedding_bag _embedding_bag_forward_only _euclidean_dist
_functional_assert_async _functional_assert_scalar _functional_sym_constrain_range
_functional_sym_constrain_range_for_size _fused_rms_norm _is_all_true _is_any_true _local_scalar_dense _log_softmax
_logcumsumexp _masked_softmax _native_batch_norm_legit _native_batch_norm_legit_functional
_native_batch_norm_legit_no_training _native_multi_head_attention _neg_view _nested_tensor_from_mask
_nested_tensor_from_mask_left_aligned _pack_padded_sequence _pad_circular _pad_enum _pad_packed_sequence
_pdist_forward _prelu_kernel _reshape_alias _reshape_alias_copy _reshape_copy _safe_softmax
_scaled_dot_product_attention_math _scaled_dot_product_cudnn_attention _scaled_dot_product_efficient_attention
_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu _shape_as_tensor _slow_conv2d_forward
_softmax _stack _to_copy _transform_bias_rescale_qkv _transformer_encoder_layer_fwd _trilinear _unique _unique2
_unsafe_index _unsafe_index_put _unsafe_view _weight_norm _weight_norm_interface abs absolute acos acosh
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
adaptive_max_pool3d add addbmm addcdiv addcmul addmm addmv addr adjoint affine_grid_generator alias alias_copy all
allclose alpha_dropout amax amin aminmax angle any arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax
argmin argsort argwhere as_strided as_strided_copy as_strided_scatter asin asinh atan atan2 atanh atleast_1d
atleast_2d atleast_3d avg_pool1d avg_pool2d avg_pool3d baddbmm bartlett_window batch_norm bernoulli bilinear
binary_cross_entropy binary_cross_entropy_with_logits bincount binomial bitwise_and bitwise_left_shift bitwise_not
bitwise_or bitwise_right_shift bitwise_xor blackman_window block_diag bmm broadcast_tensors broadcast_to bucketize
can_cast cartesian_prod cat cauchy cdist ceil celu chain_matmul chalf channel_shuffle cholesky cholesky_inverse
cholesky_solve chunk clamp clamp_max clamp_min clip clone col2im column_stack combinations complex concat concatenate
conj conj_physical constant_pad_nd contiguous conv1d conv2d conv3d conv_depthwise3d conv_tbc conv_transpose1d
conv_transpose2d conv_transpose3d convolution copy copysign corrcoef cos cosh cosine_embedding_loss cosine_similarity
count_nonzero cov cross cross_entropy_loss ctc_loss cummax cummin cumprod cumsum cumulative_trapezoid data deg2rad det
detach detach_copy diag diag_embed diagflat diagonal diagonal_copy diagonal_scatter diff digamma dim dist div divide
dot dropout dsplit dstack einsum elu embedding embedding_bag embedding_renorm empty empty_like empty_permuted
empty_strided eq equal erf erfc erfinv exp exp2 expand expand_as expand_copy expm1 exponential eye
feature_alpha_dropout feature_dropout fill fill_diagonal fix flatten flatten_dense_tensors flip fliplr flipud
float_power floor floor_divide fmax fmin fmod frac fractional_max_pool2d fractional_max_pool3d frexp frobenius_norm
full full_like gather gcd ge gelu geometric geqrf ger get_device glu gradient greater greater_equal grid_sampler
grid_sampler_2d grid_sampler_3d group_norm gru gru_cell gt hamming_window hann_window hardshrink hardsigmoid hardswish
hardtanh hash_tensor heaviside hinge_embedding_loss histc histogram histogramdd hsplit hstack huber_loss hypot i0
igamma igammac im2col imag index index_add index_copy index_fill index_put index_reduce index_select inner
instance_norm inverse is_complex is_conj is_contiguous is_floating_point is_inference is_leaf is_neg is_nonzero
is_same_size is_signed isclose isfinite isin isinf isnan isneginf isposinf isreal istft item kaiser_window kl_div kron
kthvalue l1_loss layer_norm lcm ldexp le leaky_relu lerp less less_equal lgamma lift_fresh lift_fresh_copy linear
linspace log log10 log1p log2 log_normal log_sigmoid log_sigmoid_forward log_softmax logaddexp logaddexp2 logcumsumexp
logdet logical_and logical_not logical_or logical_xor logit logspace logsumexp lstm lstm_cell lt lu_solve lu_unpack mH
mT margin_ranking_loss masked_fill masked_scatter masked_select matmul matrix_H matrix_exp matrix_power max max_pool1d
max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool2d
max_unpool3d maximum mean median meshgrid min minimum mish mm mode moveaxis movedim mse_loss msort mul
multi_margin_loss multilabel_margin_loss multilabel_margin_loss_forward multinomial multiply mv mvlgamma nan_to_num
nanmean nanmedian nanquantile nansum narrow narrow_copy native_batch_norm native_channel_shuffle native_dropout
native_group_norm native_layer_norm native_norm ne neg negative new_empty new_empty_strided new_full new_ones
new_zeros nextafter nll_loss nll_loss2d nll_loss2d_forward nll_loss_forward nll_loss_nd nonzero nonzero_numpy
nonzero_static norm norm_except_dim normal normal_functional not_equal nuclear_norm numel numpy_T one_hot ones
ones_like orgqr ormqr outer pad pad_sequence pairwise_distance pdist permute permute_copy pin_memory pinverse
pixel_shuffle pixel_unshuffle poisson poisson_nll_loss polar polygamma positive pow prelu prod promote_types put qr
quantile rad2deg rand rand_like randint randint_like randn randn_like random randperm range ravel real reciprocal
reflection_pad1d reflection_pad2d reflection_pad3d relu relu6 remainder renorm repeat repeat_interleave
replication_pad1d replication_pad2d replication_pad3d requires_grad reshape reshape_as resolve_conj resolve_neg
result_type retain_grad retains_grad rms_norm rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell roll rot90 round row_stack
rrelu rrelu_with_noise rrelu_with_noise_functional rsqrt rsub scalar_tensor scaled_dot_product_attention scatter
scatter_add scatter_reduce searchsorted select select_copy select_scatter selu sgn sigmoid sign signbit silu sin sinc
sinh size slice slice_copy slice_inverse slice_scatter slogdet slow_conv3d slow_conv3d_forward slow_conv_dilated2d
slow_conv_dilated3d slow_conv_transpose2d slow_conv_transpose3d smooth_l1_loss soft_margin_loss softmax softplus
softshrink sort split split_copy split_with_sizes split_with_sizes_copy sqrt square squeeze squeeze_copy stack std
std_mean stft storage_offset stride sub subtract sum sum_to_size svd swapaxes swapdims sym_constrain_range
sym_constrain_range_for_size sym_is_contiguous sym_numel sym_size sym_storage_offset sym_stride t t_copy take
take_along_dim tan tanh tensor_split tensordot thnn_conv2d threshold tile to to_padded_tensor topk trace transpose
transpose_copy trapezoid trapz triangular_solve tril tril_indices triplet_margin_loss triu triu_indices true_divide
trunc type_as unbind unbind_copy unflatten unflatten_dense_tensors unfold unfold_copy uniform unique_consecutive
unique_dim unique_dim_consecutive unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze unsqueeze_copy vander
var var_mean vdot view view_as view_as_complex view_as_complex_copy view_as_real view_as_real_copy view_copy vsplit
vstack where xlogy zero zeros zeros_like
""")

# Families that are mathematics as a whole.
FAMILIES = re.compile(r"_?(special|linalg|fft|upsample)_\w+")

# What TorchScript has besides: numbers, text, lists, dictionaries, questions about a tensor, and how a network says why
# it fails. Warnings are shown to nobody (bench.foreign.torchscript).
SCRIPT = _words("""
Bool Complex ComplexImplicit Delete Float FloatImplicit Generator Int IntImplicit ScalarImplicit Size __contains__
__derive_index __getitem__ __interpolate __is__ __isnot__ __not__ __range_length __round_to_zero_floordiv
__upsample __upsample_bilinear __upsample_nearest _get_tracing_state _grad_sum_to_size _infer_size
_list_to_tensor _no_grad_fill _no_grad_normal _no_grad_uniform _no_grad_zero _set_item _size_if_not_equal
_tensor_to_list _unwrap_optional append as_tensor backward bin broadcast_shapes capitalize center chr clear
count cpu cuda degrees device dict divmod element_size endswith expandtabs extend fabs factorial find floordiv
format gamma get get_autocast_dtype grad has_torch_function hash hex indices insert is_autocast_cpu_enabled
is_autocast_enabled is_grad_enabled is_non_overlapping_and_dense is_scripting is_strides_like_format isalnum
isalpha isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper items join keys
len list ljust lower lstrip mathremainder modf oct ord partition percentFormat pop popitem radians remove
replace reverse rfind rindex rjust rpartition rsplit rstrip set set_grad_enabled setdefault sorted splitlines
startswith str strip swapcase tensor title update upper values warn zfill
ChunkSizes ConstantChunk EnumName EnumValue IfThenElse ModuleContainerIndex NumToTensor RaiseException StringIndex
TupleIndex TupleUnpack Uninitialized device dtype id index is_cpu is_cuda is_ipu is_maia is_meta is_mkldnn
is_mps is_mtia is_nested is_quantized is_sparse is_sparse_csr is_vulkan is_xla is_xpu itemsize layout max min
name nbytes rangelist requires_grad tolist type unchecked_cast unchecked_unwrap_optional
""")


def admitted(name: str, script: bool = False) -> bool:
    """Whether a network may use the operator ``aten::name``; ``script``: also what only TorchScript has."""
    plain = name if name.endswith("__") else name.rstrip("_")
    return plain in TENSORS or FAMILIES.fullmatch(name) is not None or (script and plain in SCRIPT)
