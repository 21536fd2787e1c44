// ipcpp.containers - containers that live in a segment.
//
// Empty for now: its place in the layers (above ipcpp.segment, beside ipcpp.queue) is fixed, its
// contents come with the containers.
export module ipcpp.containers;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import ipcpp.segment;
