// What every function of the shim needs: its outcome as a C string.
#pragma once

#include <c10/util/Exception.h>

#include <cstdlib>
#include <cstring>
#include <exception>

namespace shim {

inline char* copy_message(const char* text) {
  const size_t size = std::strlen(text) + 1;
  char* message = static_cast<char*>(std::malloc(size));
  if (message != nullptr) {
    std::memcpy(message, text, size);
  } else {
    std::abort();  // null would mean success
  }
  return message;
}

// No C++ exception may cross into Rust.
template <typename F>
char* guarded(F&& body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    return copy_message(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return copy_message(error.what());
  } catch (...) {
    return copy_message("an exception that is no std::exception");
  }
}

}  // namespace shim
