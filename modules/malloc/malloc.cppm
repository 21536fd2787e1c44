// ipcpp.malloc - ipcmalloc, a heap that many processes share.
//
//   memory_source   where a heap gets its memory: the sbrk-style callback
//   offset_ptr      the pointer that survives being mapped elsewhere
//   heap            the heap
//   heap_ptr        a reference that fits into a message
//   allocator, pinned_allocator
//                   the heap for containers, with offset_ptrs or raw pointers
module;

export module ipcpp.malloc;

// GCC 16 crashes when it writes this module unless :heap comes before :memory_source.
export import :heap;
export import :heap_ptr;
export import :heap_picture;
export import :construction;
export import :allocator;
export import :pinned_allocator;
export import :memory_source;
export import :offset_ptr;
