// ipcpp.malloc - ipcmalloc, a heap that many processes share.
//
//   memory_source   where a heap gets its memory: the sbrk-style callback
//   offset_ptr      the pointer that survives being mapped elsewhere
//   heap            the heap
module;

export module ipcpp.malloc;

export import :memory_source;
export import :offset_ptr;
export import :heap;
