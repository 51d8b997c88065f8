// Data-parallel process groups over LibTorch's c10d, as plain C.
//
// Every function that returns `char*` returns null on success, otherwise a message that the caller hands back to
// `shim_free`. Handles belong to the caller until the matching `_free`. Times are milliseconds.
#pragma once
#include <cstddef>
#include <cstdint>

namespace at {
class Tensor;
}

extern "C" {

struct group_store;    // key-value store that all ranks reach
struct group_backend;  // Gloo or NCCL
struct group_work;     // one collective under way

// Connects to the store at host:port. With listen_fd ≥ 0 this process serves it too, on that bound socket, which the
// call takes over when it succeeds.
char* group_store_open(const char* host, uint16_t port, int32_t listen_fd, int64_t timeout, const char* prefix,
                       group_store** out);
char* group_store_set(group_store* store, const char* key, const uint8_t* data, size_t size);
char* group_store_has(group_store* store, const char* key, int32_t* found);
// Waits until the key is there; fails unless its value has exactly `size` bytes.
char* group_store_get(group_store* store, const char* key, uint8_t* data, size_t size);
void group_store_free(group_store* store);

// Connects all ranks by Gloo. At most one of host and interface is not null; with neither, Gloo binds to the address of
// this machine's name.
char* group_gloo(group_store* store, int32_t rank, int32_t size, const char* host, const char* interface,
                 int64_t timeout, group_backend** out);
// NCCL for CUDA tensors; fails in a build without it.
char* group_nccl(group_store* store, int32_t rank, int32_t size, int64_t timeout, group_backend** out);
void group_backend_free(group_backend* backend);

// Collectives start here and end in group_work_wait. Tensors are dense, contiguous, and of the same shape and type on
// all ranks: with other sizes c10d ends the process.
char* group_all_reduce_sum(group_backend* backend, const at::Tensor* tensor, group_work** out);
char* group_all_gather(group_backend* backend, const at::Tensor* output, const at::Tensor* input, group_work** out);
char* group_broadcast(group_backend* backend, const at::Tensor* tensor, int32_t from, group_work** out);
// Waits until the collective is done, by Gloo no longer than `slice`; `done` tells.
char* group_work_wait(group_work* work, int64_t slice, int32_t* done);
void group_work_free(group_work* work);

// The sum of `local` over all ranks, in a tensor of its own, which the caller owns; its gradient is the sum of theirs over all ranks.
char* group_sum_with_gradient(group_backend* backend, const at::Tensor* local, at::Tensor** out);

struct group_hook;  // a call after each gradient of a tensor

// Calls `call(data, index)` in every backward pass as soon as the gradient of `leaf`, which requires one, is complete; from whatever thread makes
// it, until the hook is freed.
char* group_on_gradient(const at::Tensor* leaf, void (*call)(const void*, size_t), const void* data, size_t index,
                        group_hook** out);
void group_hook_free(group_hook* hook);

// Gives `tensor` the gradient `gradient`, of the same shape, where it had none.
char* group_set_gradient(const at::Tensor* tensor, const at::Tensor* gradient);
}
