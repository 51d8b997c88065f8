// What the device computes: on the CPU, and with no tensor that is not on the device.

#include "memory.h"

#include <ATen/EmptyTensor.h>
#include <ATen/Functions.h>
#include <ATen/NativeFunctions.h>
#include <torch/library.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace simulated {
namespace {

// How often somebody waited for the device: for a number, or for a copy from or to memory that the device does not read by itself.
std::atomic<int64_t> waits = 0;

// Into a file at the end of the process, for tests to read.
void tell() {
  const char* path = std::getenv("SIMULATED_GPU_WAITS");
  if (std::FILE* file = path == nullptr ? nullptr : std::fopen(path, "w")) {
    std::fprintf(file, "%lld\n", static_cast<long long>(waits.load()));
    std::fclose(file);
  }
}

// One of them runs, however the process ends.
[[maybe_unused]] const bool told = std::atexit(tell) == 0 && std::at_quick_exit(tell) == 0;

// Whether this thread is the device's: what it copies between device and CPU is part of an operation.
thread_local bool computing = false;

struct Computing {
  Computing() { computing = true; }
  ~Computing() { computing = false; }
};

// The numbers of a tensor where the CPU finds them; keeps the tensor.
at::Tensor on_cpu(const at::Tensor& tensor) {
  if (!tensor.is_cuda()) {
    return tensor;
  }
  const auto options = tensor.options().device(c10::kCPU);
  if (tensor.numel() == 0) {
    return at::empty_strided(tensor.sizes(), tensor.strides(), options);
  }
  auto* first = static_cast<char*>(at_hand(tensor.storage().data())) + tensor.storage_offset() * tensor.itemsize();
  return at::from_blob(first, tensor.sizes(), tensor.strides(), [tensor](void*) {}, options);
}

constexpr c10::DispatchKeySet KEYS(c10::DispatchKey::CUDA);

at::Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> type, std::optional<c10::Layout>, std::optional<c10::Device>,
                 std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  return at::detail::empty_generic(size, memory(), KEYS, c10::dtype_or_default(type), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> type, std::optional<c10::Layout>,
                         std::optional<c10::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, memory(), KEYS, c10::dtype_or_default(type));
}

const at::Tensor& resize_(const at::Tensor& self, c10::IntArrayRef size, std::optional<c10::MemoryFormat> format) {
  if (self.sizes() == size && !format.has_value()) {
    return self;
  }
  auto* storage = self.storage().unsafeGetStorageImpl();
  const auto values = static_cast<size_t>(c10::multiply_integers(size) + self.storage_offset());
  const size_t bytes = values * self.itemsize();
  if (bytes > storage->nbytes()) {
    auto larger = memory()->allocate(bytes);
    if (storage->nbytes() > 0) {
      memory()->copy_data(larger.get(), storage->data(), storage->nbytes());
    }
    storage->set_data_ptr_noswap(std::move(larger));
    storage->set_nbytes(bytes);
  }
  auto* tensor = self.unsafeGetTensorImpl();
  tensor->set_sizes_contiguous(size);
  if (format.has_value()) {
    tensor->empty_tensor_restride(*format);
  }
  return self;
}

// Whether a copy holds nobody up if it need not: from or to pinned memory, or of at most 64 KiB to the device.
bool goes_by_itself(const at::Tensor& to, const at::Tensor& from) {
  const at::Tensor& host = to.is_cuda() ? from : to;
  return is_pinned(host.storage().data()) || (to.is_cuda() && from.nbytes() <= size_t{64} << 10);
}

at::Tensor& copy_(at::Tensor& self, const at::Tensor& from, bool non_blocking) {
  if (!computing && self.is_cuda() != from.is_cuda() && !(non_blocking && goes_by_itself(self, from))) {
    ++waits;
  }
  on_cpu(self).copy_(on_cpu(from));
  return self;
}

at::Scalar local_scalar_dense(const at::Tensor& self) {
  if (!computing) {
    ++waits;
  }
  return on_cpu(self).item();
}

// A GPU's kernels take numbers of the CPU, where these are single ones, and indices; nothing else.
void refuse_other_devices(const c10::FunctionSchema& schema, const torch::jit::Stack& stack) {
  const std::string_view name = schema.name();
  if (name == "aten::index" || name == "aten::index_put_" || name == "aten::_index_put_impl_") {
    return;
  }
  const auto check = [&](const at::Tensor& tensor) {
    TORCH_CHECK(!tensor.defined() || tensor.is_cuda() || tensor.dim() == 0,
                "Expected all tensors to be on the same device, but found at least two devices, ", GPU, " and ", tensor.device(), "! (", name,
                ")");
  };
  for (const auto& argument : torch::jit::last(stack, schema.arguments().size())) {
    if (argument.isTensor()) {
      check(argument.toTensor());
    } else if (argument.isTensorList()) {
      for (const at::Tensor& tensor : argument.toTensorVector()) {
        check(tensor);
      }
    }
  }
}

// A tensor of an operation, and what the CPU has in its place.
struct Argument {
  at::Tensor on_gpu;
  at::Tensor on_cpu;
  bool made_anew;
};

// The CPU works on the device's own numbers. What is empty and written to may be made larger, which borrowed memory cannot be.
at::Tensor lend(std::vector<Argument>& lent, const at::Tensor& tensor, bool written) {
  if (!tensor.defined() || !tensor.is_cuda()) {
    return tensor;
  }
  const bool anew = written && tensor.numel() == 0;
  lent.push_back({tensor, anew ? at::empty(tensor.sizes(), tensor.options().device(c10::kCPU)) : on_cpu(tensor), anew});
  return lent.back().on_cpu;
}

at::Tensor take_back(const std::vector<Argument>& lent, const at::Tensor& result) {
  if (!result.defined()) {
    return result;
  }
  for (const auto& argument : lent) {
    if (result.is_same(argument.on_cpu)) {
      return argument.on_gpu;
    }
    TORCH_CHECK(result.numel() == 0 || !result.storage().is_alias_of(argument.on_cpu.storage()),
                "the simulated GPU lacks an operator that gives views of tensors");
  }
  return at::empty_strided(result.sizes(), result.strides(), result.options().device(GPU)).copy_(result);
}

// Operators whose results have a size that only the device knows, or that give a value to the host.
bool asks_the_device(const std::string_view name) {
  for (const char* one : {"aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive",
                          "aten::repeat_interleave"}) {
    if (name == one) {
      return true;
    }
  }
  return false;
}

void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  refuse_other_devices(op.schema(), *stack);
  if (!computing && asks_the_device(op.schema().name())) {
    ++waits;
  }
  const Computing here;
  const auto& arguments = op.schema().arguments();
  const size_t first = stack->size() - arguments.size();
  std::vector<Argument> lent;
  for (size_t i = 0; i < arguments.size(); ++i) {
    auto& value = (*stack)[first + i];
    const bool written = arguments[i].alias_info() != nullptr && arguments[i].alias_info()->isWrite();
    if (value.isTensor()) {
      value = lend(lent, value.toTensor(), written);
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector()) {
        list.push_back(lend(lent, tensor, written));
      }
      value = list;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
        list.push_back(tensor.has_value() ? std::optional(lend(lent, *tensor, written)) : std::nullopt);
      }
      value = list;
    } else if (value.isDevice()) {
      value = c10::Device(c10::kCPU);
    }
  }
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  for (const auto& argument : lent) {
    if (argument.made_anew && argument.on_cpu.numel() > 0) {
      resize_(argument.on_gpu, argument.on_cpu.sizes(), std::nullopt);
      at::Tensor(argument.on_gpu).copy_(argument.on_cpu);
    }
  }
  const size_t results = op.schema().returns().size();
  for (size_t i = 0; i < results; ++i) {
    auto& value = (*stack)[stack->size() - results + i];
    if (value.isTensor()) {
      value = take_back(lent, value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector()) {
        list.push_back(take_back(lent, tensor));
      }
      value = list;
    }
  }
}

// In float32 what CPUs do not do in bfloat16, or not in all shapes.
void compute_in_float(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const size_t first = stack->size() - arguments.size();
  std::vector<at::Tensor> written;
  bool narrow = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    auto& value = (*stack)[first + i];
    if (!value.isTensor() || !value.toTensor().defined()) {
      continue;
    }
    const at::Tensor tensor = value.toTensor();
    if (arguments[i].alias_info() != nullptr && arguments[i].alias_info()->isWrite()) {
      written.push_back(tensor);
    }
    if (tensor.scalar_type() == at::kBFloat16) {
      narrow = true;
      value = tensor.to(at::kFloat);
    }
  }
  compute(op, stack);
  if (!narrow) {
    return;
  }
  const size_t results = op.schema().returns().size();
  for (size_t i = 0; i < results; ++i) {
    auto& value = (*stack)[stack->size() - results + i];
    if (value.isTensor() && value.toTensor().defined()) {
      const at::Tensor wide = value.toTensor();
      value = written.empty() ? wide.to(at::kBFloat16) : written.at(i).resize_(wide.sizes()).copy_(wide);
    }
  }
}

// As cuDNN gives them, gradients of weights lie in memory as the weights do.
void convolution_backward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const at::Tensor weight = torch::jit::peek(*stack, 2, op.schema().arguments().size()).toTensor();
  compute_in_float(op, stack);
  auto& gradient = torch::jit::peek(*stack, 1, op.schema().returns().size());
  if (gradient.isTensor() && gradient.toTensor().defined()) {
    gradient = at::empty_strided(weight.sizes(), weight.strides(), weight.options()).copy_(gradient.toTensor());
  }
}

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", static_cast<at::Tensor (*)(const at::Tensor&, c10::IntArrayRef)>(&at::native::view));
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("resize_", &resize_);
  m.impl("copy_", &copy_);
  m.impl("_local_scalar_dense", &local_scalar_dense);
  m.impl("convolution_backward", torch::CppFunction::makeFromBoxedFunction<&convolution_backward>());
  for (const char* name : {"convolution", "avg_pool3d.out", "avg_pool3d_backward.grad_input"}) {
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&compute_in_float>());
  }
}

}  // namespace
}  // namespace simulated
