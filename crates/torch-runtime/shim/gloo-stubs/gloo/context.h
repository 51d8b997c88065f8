// Stub; see ../README.md.
#pragma once
#include <gloo/transport/unbound_buffer.h>

#include <chrono>

namespace gloo {
class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};
}  // namespace gloo
