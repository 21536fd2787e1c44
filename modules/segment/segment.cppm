// ipcpp.segment - named, anonymous and file-backed shared memory with a heap and a directory of
// named objects.
//
// Empty for now: its place in the layers (above ipcpp.malloc, below ipcpp.queue and
// ipcpp.containers) is fixed, its contents come with the segments.
export module ipcpp.segment;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
