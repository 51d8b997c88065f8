// Stub; see ../../README.md.
#pragma once

namespace gloo::transport {
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = 0;
};
}  // namespace gloo::transport
