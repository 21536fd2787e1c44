// ipcpp.containers - containers that live in a segment, of our own.
//
//   :concurrent_map    for many processes at once, without a lock around it
//   :string :string_operators                   basic_string, string, ...
//   :vector :deque :list :forward_list          sequences
//   :map :set :flat_map :flat_set               ordered, the first two with multi forms
//   :unordered_map :unordered_set               hashed, with multi forms
//   :hash                                       the same values in every process
//
// A container holds its allocator and offsets, and nothing else that a process could mistake: the
// same bytes mean the same to every process, wherever it maps the segment, and to every compiler.
// Elements are built with the container's memory (ipcpp.malloc:construction), so containers nest
// without ceremony. docs/containers.md says what is guaranteed.
export module ipcpp.containers;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import ipcpp.segment;
export import :checks;
export import :hash;
export import :string_storage;
export import :string;
export import :string_operators;
export import :links;
export import :sequence_support;
export import :vector;
export import :list;
export import :forward_list;
export import :deque;
export import :node_handle;
export import :hash_table;
export import :unordered_map;
export import :unordered_set;
export import :functors;
export import :search_tree;
export import :map;
export import :set;
export import :flat_set;
export import :flat_map;
export import :concurrent_map_core;
export import :concurrent_map;
