#include "group.h"

#include "backend.h"
#include "guard.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <chrono>
#include <cstdlib>

char* group_nccl(group_store* store, int32_t rank, int32_t size, int64_t timeout, group_backend** out) {
  return shim::guarded([&] {
    // Otherwise NCCL's watchdog ends the process when a peer is gone, and nothing can be said or saved. A value that the
    // user set stays.
    setenv("TORCH_NCCL_BLOCKING_WAIT", "1", 0);
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = std::chrono::milliseconds(timeout);
    auto own = c10::make_intrusive<c10d::PrefixStore>("nccl", store->store);
    *out = new group_backend{c10::make_intrusive<c10d::ProcessGroupNCCL>(own, rank, size, std::move(options)), false};
  });
}
