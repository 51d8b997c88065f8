// Memory of the device, and the host's memory that it reads by itself.
#pragma once

#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>

namespace simulated {

const c10::Device GPU(c10::kCUDA, 0);

c10::DeviceAllocator* memory();
at::HostAllocator* pinned_memory();
bool is_pinned(const void* data);

// Where the device's kernels find what lies at an address of the device.
void* at_hand(const void* address);

}  // namespace simulated
