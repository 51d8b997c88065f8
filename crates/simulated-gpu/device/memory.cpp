#include "memory.h"

#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace simulated {
namespace {

// An address of the device is one of the host with a bit that no mapped address has: whoever reads there without the device is stopped at once,
// as on a machine with a GPU.
constexpr uintptr_t FAR = uintptr_t{1} << 62;

void* of_device(const void* host) { return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(host) | FAR); }

// Blocks of either kind by their host's address, with their sizes.
struct Blocks {
  void* take(size_t bytes, size_t capacity) {
    const std::lock_guard<std::mutex> guard(lock);
    TORCH_CHECK_WITH(OutOfMemoryError, bytes <= capacity - std::min<size_t>(capacity, held.current),
                     "CUDA out of memory. Tried to allocate ", bytes, " bytes. The simulated GPU has ", capacity, " of which ", held.current,
                     " are in use");
    void* host = c10::alloc_cpu(bytes);
    sizes[reinterpret_cast<uintptr_t>(host)] = bytes;
    held.increase(bytes);
    return host;
  }

  void give_back(void* host) {
    const std::lock_guard<std::mutex> guard(lock);
    const auto block = sizes.find(reinterpret_cast<uintptr_t>(host));
    held.decrease(block->second);
    sizes.erase(block);
    c10::free_cpu(host);
  }

  bool has(const void* host) {
    const std::lock_guard<std::mutex> guard(lock);
    const auto address = reinterpret_cast<uintptr_t>(host);
    auto after = sizes.upper_bound(address);
    return after != sizes.begin() && address < std::prev(after)->first + std::prev(after)->second;
  }

  c10::CachingAllocator::Stat in_use() {
    const std::lock_guard<std::mutex> guard(lock);
    return held;
  }

  std::mutex lock;
  std::map<uintptr_t, size_t> sizes;
  c10::CachingAllocator::Stat held;
};

// Never destroyed: tensors of statics are released after those of this file.
Blocks& on_device() {
  static auto* blocks = new Blocks;
  return *blocks;
}
Blocks& on_host() {
  static auto* blocks = new Blocks;
  return *blocks;
}

size_t capacity() {
  const char* bytes = std::getenv("SIMULATED_GPU_BYTES");
  return bytes == nullptr ? SIZE_MAX : std::stoull(bytes);
}

void release(void* address) {
  if (address != nullptr) {
    on_device().give_back(at_hand(address));
  }
}

void release_pinned(void* host) {
  if (host != nullptr) {
    on_host().give_back(host);
  }
}

class Memory final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    static const size_t all = capacity();
    void* address = bytes == 0 ? nullptr : of_device(on_device().take(bytes, all));
    return {address, address, &release, GPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(at_hand(to), at_hand(from), bytes); }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override {
    c10::CachingDeviceAllocator::DeviceStats stats;
    stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)] = on_device().in_use();
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override {}
};

class PinnedMemory final : public at::HostAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* host = bytes == 0 ? nullptr : on_host().take(bytes, SIZE_MAX);
    return {host, host, &release_pinned, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release_pinned; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
  bool record_event(void*, void*, c10::Stream) override { return true; }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}
};

}  // namespace

void* at_hand(const void* address) { return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(address) & ~FAR); }

c10::DeviceAllocator* memory() {
  static auto* memory = new Memory;
  return memory;
}

at::HostAllocator* pinned_memory() {
  static auto* memory = new PinnedMemory;
  return memory;
}

bool is_pinned(const void* data) { return on_host().has(data); }

namespace {

struct Registered {
  Registered() {
    c10::SetAllocator(c10::kCUDA, memory(), 1);
    at::setHostAllocator(c10::kCUDA, pinned_memory(), 1);
  }
} registered;

}  // namespace
}  // namespace simulated
