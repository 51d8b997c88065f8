// The handles that group.cpp and group_nccl.cpp share.
#pragma once

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

struct group_store {
  c10::intrusive_ptr<c10d::Store> store;
};

struct group_backend {
  // Calls go through the base class, whose methods are virtual.
  c10::intrusive_ptr<c10d::Backend> backend;
  bool gloo;
};
