#include "lists.h"

#include "guard.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <initializer_list>
#include <vector>

namespace {

std::vector<at::Tensor> list(int64_t count, at::Tensor* const* tensors) {
  std::vector<at::Tensor> all;
  all.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    all.push_back(*tensors[i]);
  }
  return all;
}

// Whether two tensors lie in memory in the same order. The stride of an axis of one value says nothing, and kernels choose it as they like.
bool same_order(const at::Tensor& one, const at::Tensor& other) {
  if (one.sizes() != other.sizes()) {
    return false;
  }
  for (int64_t axis = 0; axis < one.dim(); ++axis) {
    if (one.size(axis) != 1 && one.stride(axis) != other.stride(axis)) {
      return false;
    }
  }
  return true;
}

// The kernels walk over tensors side by side.
void check_alike(int64_t index, const at::Tensor& parameter, std::initializer_list<const at::Tensor*> others) {
  for (const auto* other : others) {
    TORCH_CHECK(same_order(*other, parameter) && other->scalar_type() == parameter.scalar_type() && other->device() == parameter.device(),
                "tensor ", index, ": its gradient or a moment lies in memory in another way than the parameter: sizes ", other->sizes(), " and ",
                parameter.sizes(), ", strides ", other->strides(), " and ", parameter.strides());
  }
}

}  // namespace

extern "C" {

char* lists_adamw(int64_t count, at::Tensor* const* parameters, at::Tensor* const* gradients, at::Tensor* const* first,
                  at::Tensor* const* second, int64_t updates, double lr, double beta1, double beta2, double weight_decay, double epsilon) {
  return shim::guarded([&] {
    at::NoGradGuard guard;
    auto own = list(count, parameters);
    auto changes = list(count, gradients);
    auto m = list(count, first);
    auto v = list(count, second);
    for (int64_t i = 0; i < count; ++i) {
      check_alike(i, own[i], {&changes[i], &m[i], &v[i]});
    }
    // The kernels read how many updates there were from float32 tensors beside the parameters.
    const auto step = at::full({}, static_cast<double>(updates), own.at(0).options().dtype(at::kFloat).requires_grad(false));
    const std::vector<at::Tensor> steps(count, step);
    at::_fused_adamw_(own, changes, m, v, {}, steps, lr, beta1, beta2, weight_decay, epsilon, /*amsgrad=*/false,
                      /*maximize=*/false);
  });
}

char* lists_sgd(int64_t count, at::Tensor* const* parameters, at::Tensor* const* gradients, at::Tensor* const* buffers, double lr,
                double momentum, double weight_decay) {
  return shim::guarded([&] {
    at::NoGradGuard guard;
    auto own = list(count, parameters);
    auto changes = list(count, gradients);
    auto moments = list(count, buffers);
    for (int64_t i = 0; i < count; ++i) {
      check_alike(i, own[i], {&changes[i], &moments[i]});
    }
    at::_fused_sgd_(own, changes, moments, weight_decay, momentum, lr, /*dampening=*/0.0, /*nesterov=*/true, /*maximize=*/false,
                    /*is_first_step=*/false);
  });
}

char* lists_lerp(int64_t count, at::Tensor* const* tensors, at::Tensor* const* ends, const double* shares) {
  return shim::guarded([&] {
    at::NoGradGuard guard;
    const std::vector<at::Scalar> weights(shares, shares + count);
    at::_foreach_lerp_(list(count, tensors), list(count, ends), weights);
  });
}

char* lists_norm(int64_t count, at::Tensor* const* tensors, at::Tensor** norm) {
  return shim::guarded([&] {
    at::NoGradGuard guard;
    const auto norms = at::_foreach_norm(list(count, tensors), 2, at::kFloat);
    *norm = new at::Tensor(at::linalg_vector_norm(at::stack(norms), 2));
  });
}

char* lists_copy(int64_t count, at::Tensor* const* targets, at::Tensor* const* sources) {
  return shim::guarded([&] {
    at::NoGradGuard guard;
    at::_foreach_copy_(list(count, targets), list(count, sources));
  });
}

char* lists_scale(int64_t count, at::Tensor* const* tensors, double factor) {
  return shim::guarded([&] {
    at::NoGradGuard guard;
    at::_foreach_mul_(list(count, tensors), factor);
  });
}

char* lists_pinned(const at::Tensor* tensor, at::Tensor** pinned) {
  return shim::guarded([&] { *pinned = new at::Tensor(tensor->pin_memory()); });
}

char* lists_forget_gradients(int64_t count, at::Tensor* const* tensors) {
  return shim::guarded([&] {
    for (int64_t i = 0; i < count; ++i) {
      tensors[i]->mutable_grad().reset();
    }
  });
}
}
