#include "shim.h"

#include "guard.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/Exception.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/headeronly/version.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef __linux__
#include <dlfcn.h>
#endif

#include <cstdio>
#include <cstdlib>
#include <set>
#include <stdexcept>
#include <string>

#if TORCH_VERSION_MAJOR != 2 || TORCH_VERSION_MINOR != 11
#error "tch 0.24 belongs to PyTorch 2.11: run `make setup`, which installs torch==2.11.0 into .venv"
#endif

using shim::guarded;

namespace {

at::DeviceType device_type(int32_t cuda) { return cuda != 0 ? at::kCUDA : at::kCPU; }

}  // namespace

void shim_free(char* message) { std::free(message); }

void shim_leave(int32_t status) {
  std::fflush(nullptr);
  std::quick_exit(status);
}

void shim_keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

int32_t shim_header_version() {
  return TORCH_VERSION_MAJOR * 10000 + TORCH_VERSION_MINOR * 100 + TORCH_VERSION_PATCH;
}

int32_t shim_loaded_version() {
  const uint64_t version = aoti_torch_abi_version();
  const auto byte = [version](int shift) { return static_cast<int32_t>((version >> shift) & 0xff); };
  return byte(56) * 10000 + byte(48) * 100 + byte(40);
}

char* shim_load_cuda() {
  return guarded([] {
#ifdef __linux__
    // Found as the other libraries are: LD_LIBRARY_PATH, then the program's run path.
    if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      const char* reason = dlerror();
      throw std::runtime_error(reason == nullptr ? "libtorch_cuda.so cannot be loaded" : reason);
    }
#else
    throw std::runtime_error("LibTorch has a CUDA part on Linux only");
#endif
  });
}

char* shim_autocast_enter_bf16(int32_t cuda, shim_autocast_state* previous) {
  return guarded([&] {
    const auto type = device_type(cuda);
    previous->enabled = at::autocast::is_autocast_enabled(type) ? 1 : 0;
    previous->dtype = static_cast<int32_t>(at::autocast::get_autocast_dtype(type));
    at::autocast::set_autocast_enabled(type, true);
    at::autocast::set_autocast_dtype(type, at::kBFloat16);
    at::autocast::increment_nesting();
  });
}

char* shim_autocast_leave(int32_t cuda, const shim_autocast_state* previous) {
  return guarded([&] {
    const auto type = device_type(cuda);
    if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
    at::autocast::set_autocast_enabled(type, previous->enabled != 0);
    at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(previous->dtype));
  });
}

char* shim_autocast_enabled(int32_t cuda, int32_t* enabled) {
  return guarded([&] { *enabled = at::autocast::is_autocast_enabled(device_type(cuda)) ? 1 : 0; });
}

char* shim_gpu_memory(int32_t index, int64_t* now, int64_t* peak) {
  return guarded([&] {
    const auto stats = c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(static_cast<c10::DeviceIndex>(index));
    const auto& bytes = stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
    *now = bytes.current;
    *peak = bytes.peak;
  });
}

namespace {

// LibTorch warns of an operator without a deterministic kernel at each of its calls: in training, in every step.
class EachWarningOnce : public c10::WarningHandler {
  void process(const c10::Warning& warning) override {
    if (said_.insert(warning.msg()).second) {
      c10::WarningHandler::process(warning);
    }
  }
  std::set<std::string> said_;
};

}  // namespace

char* shim_set_deterministic(int32_t on, int32_t warn_only) {
  return guarded([&] {
    auto& context = at::globalContext();
    if (on != 0) {
      // of this thread, which replays what others warned of in a backward pass
      static thread_local auto* once = new EachWarningOnce;
      c10::WarningUtils::set_warning_handler(once);
      // cuBLAS gives the same bits only with a workspace of fixed size, and reads this once. A value of the user's is kept.
      setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
    }
    context.setDeterministicAlgorithms(on != 0, warn_only != 0);
    context.setDeterministicCuDNN(on != 0);
    // Filling fresh memory guards against reading it unset and costs a pass per tensor.
    context.setDeterministicFillUninitializedMemory(false);
  });
}

char* shim_deterministic(int32_t* on) {
  return guarded([&] { *on = at::globalContext().deterministicAlgorithms() ? 1 : 0; });
}

char* shim_set_cudnn_benchmark(int32_t on) {
  return guarded([&] { at::globalContext().setBenchmarkCuDNN(on != 0); });
}

char* shim_cudnn_benchmark(int32_t* on) {
  return guarded([&] { *on = at::globalContext().benchmarkCuDNN() ? 1 : 0; });
}
