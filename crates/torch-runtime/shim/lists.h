// Operations on many tensors in one call, which LibTorch makes in few passes over memory or few kernels.
//
// `count` pointers to tensors each; tensors of one call are of one kind and on one device. Null on success, else a message for
// `shim_free`.
#pragma once
#include <cstdint>

namespace at {
class Tensor;
}

extern "C" {

// One update of AdamW; `updates` counts this one. Moments are changed in place.
char* lists_adamw(int64_t count, at::Tensor* const* parameters, at::Tensor* const* gradients, at::Tensor* const* first,
                  at::Tensor* const* second, int64_t updates, double lr, double beta1, double beta2, double weight_decay, double epsilon);
// One update of SGD with Nesterov momentum, buffers of which start as zeros and are changed in place.
char* lists_sgd(int64_t count, at::Tensor* const* parameters, at::Tensor* const* gradients, at::Tensor* const* buffers, double lr,
                double momentum, double weight_decay);
// Moves each tensor by its share of the way to its end, in place.
char* lists_lerp(int64_t count, at::Tensor* const* tensors, at::Tensor* const* ends, const double* shares);
// The L2 norm of all of them together, in float32.
char* lists_norm(int64_t count, at::Tensor* const* tensors, at::Tensor** norm);
// Those of one kind and device; each target is its source from then on.
char* lists_copy(int64_t count, at::Tensor* const* targets, at::Tensor* const* sources);
char* lists_scale(int64_t count, at::Tensor* const* tensors, double factor);
// A copy in memory that a GPU reads by itself; the caller owns it as a tensor of tch.
char* lists_pinned(const at::Tensor* tensor, at::Tensor** pinned);
// Takes the gradients away.
char* lists_forget_gradients(int64_t count, at::Tensor* const* tensors);
}
