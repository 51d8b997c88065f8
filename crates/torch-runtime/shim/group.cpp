#include "group.h"

#include "backend.h"
#include "guard.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <ATen/core/ivalue.h>
#include <c10/util/Logging.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

// The gloo headers are stubs of ours: another layout of this class means another LibTorch, whose header is to be read anew.
#if defined(__linux__) && defined(__x86_64__)
static_assert(sizeof(c10d::ProcessGroupGloo) == 488, "not the ProcessGroupGloo of PyTorch 2.11");
#endif

using shim::guarded;
using std::chrono::milliseconds;

namespace {

// While one lives, LibTorch logs nothing below fatal: c10d writes a C++ stack trace for each attempt that fails, and what
// failed is in the exception, which becomes our message. Nothing changes where the user has asked for a level.
class Quiet {
 public:
  Quiet() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (depth_++ == 0) {
      before_ = FLAGS_caffe2_log_level;
      if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) {
        FLAGS_caffe2_log_level = kFatal;
      }
    }
  }
  ~Quiet() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--depth_ == 0) {
      FLAGS_caffe2_log_level = before_;
    }
  }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  static constexpr int kFatal = 3;
  static inline std::mutex mutex_;
  static inline int depth_ = 0;
  static inline int before_ = 0;
};

}  // namespace

namespace {

at::Tensor sum_over_ranks(const c10::intrusive_ptr<c10d::Backend>& backend, const at::Tensor& tensor) {
  at::Tensor sum = tensor.detach().clone(at::MemoryFormat::Contiguous);
  std::vector<at::Tensor> tensors{sum};
  try {
    // Without a time of its own: the backend's time-out ends the collective.
    TORCH_CHECK(backend->allreduce(tensors)->wait(kNoTimeout), "the collective was aborted");
  } catch (const std::exception& error) {
    // In a backward pass this is all that tells it from other failures (`Group::is_why`).
    TORCH_CHECK(false, "sum over processes: ", error.what());
  }
  return sum;
}

// Every rank's part counts in every rank's sum: the gradient of a part is the sum of all gradients.
class SumOverRanks : public torch::autograd::Function<SumOverRanks> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& local,
                            const c10::intrusive_ptr<c10d::Backend>& backend) {
    // The graph may outlive the handle.
    context->saved_data["backend"] = c10::IValue::make_capsule(backend);
    return sum_over_ranks(backend, local);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto held = context->saved_data["backend"].toCapsule();
    const auto backend = c10::static_intrusive_pointer_cast<c10d::Backend>(held);
    return {sum_over_ranks(backend, gradients[0]), at::Tensor()};
  }
};

class CallAfterGradient : public torch::autograd::FunctionPostHook {
 public:
  CallAfterGradient(void (*call)(const void*, size_t), const void* data, size_t index)
      : call_(call), data_(data), index_(index) {}

  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list&) override {
    call_(data_, index_);
    return outputs;
  }

 private:
  void (*call_)(const void*, size_t);
  const void* data_;
  size_t index_;
};

}  // namespace

struct group_hook {
  // The tensor only refers to the node that adds to its gradient.
  std::shared_ptr<torch::autograd::Node> node;
  uintptr_t key;
};

struct group_work {
  c10::intrusive_ptr<c10d::Work> work;
  bool gloo;
};

char* group_store_open(const char* host, uint16_t port, int32_t listen_fd, int64_t timeout, const char* prefix,
                       group_store** out) {
  return guarded([&] {
    const Quiet quiet;
    c10d::TCPStoreOptions options;
    options.port = port;
    options.timeout = milliseconds(timeout);
    // Who is missing is found out by keys, which say more than a count.
    options.waitWorkers = false;
    // Only this server takes a socket that is bound already, and so listens on one address alone.
    options.useLibUV = false;
    if (listen_fd >= 0) {
      options.isServer = true;
      options.masterListenFd = listen_fd;
    }
    auto tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    *out = new group_store{c10::make_intrusive<c10d::PrefixStore>(prefix, std::move(tcp))};
  });
}

char* group_store_set(group_store* store, const char* key, const uint8_t* data, size_t size) {
  return guarded([&] {
    const Quiet quiet;
    store->store->set(key, std::vector<uint8_t>(data, data + size));
  });
}

char* group_store_has(group_store* store, const char* key, int32_t* found) {
  return guarded([&] {
    const Quiet quiet;
    *found = store->store->check({key}) ? 1 : 0;
  });
}

char* group_store_get(group_store* store, const char* key, uint8_t* data, size_t size) {
  return guarded([&] {
    const Quiet quiet;
    const std::vector<uint8_t> value = store->store->get(key);
    TORCH_CHECK(value.size() == size, "the value of ", key, " has ", value.size(), " bytes, expected ", size);
    std::copy(value.begin(), value.end(), data);
  });
}

void group_store_free(group_store* store) { delete store; }

char* group_gloo(group_store* store, int32_t rank, int32_t size, const char* host, const char* interface,
                 int64_t timeout, group_backend** out) {
  return guarded([&] {
    const Quiet quiet;
    auto options = c10d::ProcessGroupGloo::Options::create(milliseconds(timeout));
    options->devices.push_back(host != nullptr        ? c10d::ProcessGroupGloo::createDeviceForHostname(host)
                               : interface != nullptr ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                                                      : c10d::ProcessGroupGloo::createDefaultDevice());
    auto own = c10::make_intrusive<c10d::PrefixStore>("gloo", store->store);
    *out = new group_backend{c10::make_intrusive<c10d::ProcessGroupGloo>(own, rank, size, std::move(options)), true};
  });
}

#ifndef USE_C10D_NCCL
char* group_nccl(group_store*, int32_t, int32_t, int64_t, group_backend**) {
  return shim::copy_message("this program was built without NCCL");
}
#endif

void group_backend_free(group_backend* backend) { delete backend; }

char* group_all_reduce_sum(group_backend* backend, const at::Tensor* tensor, group_work** out) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{tensor->detach()};
    *out = new group_work{backend->backend->allreduce(tensors), backend->gloo};
  });
}

char* group_all_gather(group_backend* backend, const at::Tensor* output, const at::Tensor* input, group_work** out) {
  return guarded([&] {
    at::Tensor target = output->detach();
    at::Tensor source = input->detach();
    *out = new group_work{backend->backend->_allgather_base(target, source), backend->gloo};
  });
}

char* group_broadcast(group_backend* backend, const at::Tensor* tensor, int32_t from, group_work** out) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{tensor->detach()};
    c10d::BroadcastOptions options;
    options.rootRank = from;
    *out = new group_work{backend->backend->broadcast(tensors, options), backend->gloo};
  });
}

char* group_work_wait(group_work* work, int64_t slice, int32_t* done) {
  return guarded([&] {
    *done = 1;
    if (work->gloo) {
      try {
        work->work->wait(milliseconds(slice));
        return;
      } catch (...) {
        // Either the collective failed, which the wait below says again, or the slice is over.
        if (!work->work->isCompleted()) {
          *done = 0;
          return;
        }
      }
    }
    // Without a time of its own: the backend's time-out ends the collective.
    TORCH_CHECK(work->work->wait(kNoTimeout), "the collective was aborted");
  });
}

void group_work_free(group_work* work) { delete work; }

char* group_sum_with_gradient(group_backend* backend, const at::Tensor* local, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(SumOverRanks::apply(*local, backend->backend)); });
}

char* group_on_gradient(const at::Tensor* leaf, void (*call)(const void*, size_t), const void* data, size_t index,
                        group_hook** out) {
  return guarded([&] {
    auto node = torch::autograd::impl::grad_accumulator(*leaf);
    TORCH_CHECK(node != nullptr, "a tensor without gradient");
    const auto key = node->add_post_hook(std::make_unique<CallAfterGradient>(call, data, index));
    *out = new group_hook{std::move(node), key};
  });
}

void group_hook_free(group_hook* hook) {
  hook->node->del_post_hook(hook->key);
  delete hook;
}

char* group_set_gradient(const at::Tensor* tensor, const at::Tensor* gradient) {
  return guarded([&] { tensor->mutable_grad() = *gradient; });
}
