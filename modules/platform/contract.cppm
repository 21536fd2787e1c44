// ipcpp.platform:contract - what a system has to provide, in one page. tests/platform/ checks it,
// unchanged, everywhere.
//
// shared_object: growable memory with an identity, whether or not it has a name.
//   create            Nobody else can see it; its first page is committed and holds the prologue (see
//                     :terms). std::bad_alloc if the system refuses that page. The capacity is
//                     rounded up to 64 KiB.
//   publish(name)     The name leads to the object from one instant on. Fill the object first.
//                     already_exists: somebody was faster, the object is as unnamed as before. A
//                     creator killed at any instruction leaves no name.
//   open(name)        not_found, access_denied, damaged, wrong_layout, in this order. Never sees a
//                     half-made object. Refuses another user's unless audience::group is asked for.
//   remove(name)      The name is gone at once, users go on undisturbed. false: there was none.
//   remove_if_unused  Only if nobody has it open or mapped; decided without a race against open().
//                     `only`: and if the name leads to the object with that id.
//   ..._file          The same with a path instead of a name: the memory is a file, which goes when
//                     somebody removes it. Made with object_options::directory. not_supported where
//                     the system or file system cannot.
//   from_handle       Takes a native handle passed on by fork, socket or duplication.
//   send, receive     Pass the native handle over a connected Unix socket; not_supported elsewhere.
//   again             A second, independent opening.
//   reachable         The name still leads here (systems may remove names themselves: RemoveIPC).
// mapping: the whole capacity, reserved at once at base(), which is aligned to
// base_alignment(capacity()).
//   publish(name)     Gives the mapped object its name, as shared_object::publish does.
//   map(object, at)   At a given address or not at all; no_address_space names what was missing.
//                     Touches no page.
//   commit            true: these bytes (in whole pages) are there for every process that maps the
//                     object, and stay; new ones are zero. false: the system refuses, nothing is
//                     lost, never a SIGBUS later. Idempotent. Several processes may do it at once.
//   adopt(end)        Makes the bytes below end, committed by anyone, accessible here. Cheap when
//                     there is nothing to do.
//   grows_by_mappings Is adopt ever needed? Otherwise what others commit is accessible at once.
//   prefer_huge_pages A hint. false: the system has none for this object.
//   backed_bytes      Bytes from here on were never committed by anyone; capacity() where the system
//                     cannot tell.
//   release           Returns how many bytes went back to the system; commit them before they are
//                     touched again.
//   private_area      private_area_bytes directly below base(): zero at first, private, zero again
//                     in a forked child.
// parking_slot: one thread sleeps, any number wake it. `number` is the slot's own within its object,
// the same in all processes.
//   ticket, park      Take a ticket, look at the predicate, park(ticket, deadline). Returns woken
//                     once an unpark came after the ticket, else slice_over within wait_slice (look
//                     again, and see who died), else deadline_passed. May return early.
//   unpark            No system call when nobody sleeps.
// doorbell: something for the system's own ways to wait (epoll, poll; WaitForMultipleObjects).
//   make(object, n)   The one bell of that number; it goes with this process at the latest.
//   ring(object, n)   Makes its native_handle() readable (signalled). Nobody there: nothing happens.
//   answer            Forgets all rings so far. On Linux it is readable again after a wait_slice, so
//                     that a ring lost with a killed ringer is made good.
// life_line, life_hold: proof of life, decided by the kernel.
//   take(i)           Holds life i of the object until the hold is destroyed or the last thread of
//                     this process is gone, by whatever cause, exec included; no child inherits it.
//                     Empty: a living process holds it.
//   probe(i)          alive exactly while somebody holds i, the caller included. `recorded`, the
//                     holder's identity where the upper layer knows it, only helps systems without
//                     lock bytes. If the system cannot be asked, the answer is alive. Who reads dead
//                     sees everything the holder wrote. A stopped process is alive.
// heavy fence: orders, in all processes that enrolled, everything before it with everything after, so
// that their fast paths need no fence of their own. enrol_in_heavy_fence() false: the system has
// none; heavy_fence() false: this process may not issue it.
// fork_private_pages: zeroed private memory, zero again in a forked child.
// incarnation: never the same in a process and in a child that inherited its memory; a few ns.
//
// Nothing here blocks except park. Everything throws ipcpp::error or std::bad_alloc unless noexcept.
module;

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

export module ipcpp.platform:contract;

import :terms;

namespace ipcpp::platform {

template <class T>
concept movable_handle = std::is_nothrow_move_constructible_v<T> &&
                         std::is_nothrow_move_assignable_v<T> && !std::copyable<T>;

template <class Object>
concept shared_object_contract =
    movable_handle<Object> &&
    requires(Object& object, const Object& constant, std::string_view name, access mode,
             audience who, const object_options& options,
             typename Object::native_handle_type handle, const object_id& id) {
      { Object::create(options) } -> std::same_as<Object>;
      { Object::open(name, mode, who) } -> std::same_as<Object>;
      { Object::from_handle(handle, mode) } -> std::same_as<Object>;
      { Object::remove(name, who) } -> std::same_as<bool>;
      { Object::remove_if_unused(name, who) } -> std::same_as<bool>;
      { Object::remove_if_unused(name, who, &id) } -> std::same_as<bool>;
      { object.publish(name) } -> std::same_as<void>;
      { object.publish_file(name) } -> std::same_as<void>;
      { Object::open_file(name, mode, who) } -> std::same_as<Object>;
      { Object::remove_file(name, who) } -> std::same_as<bool>;
      { constant.send(handle) } -> std::same_as<void>;
      { Object::receive(handle) } -> std::same_as<typename Object::native_handle_type>;
      { constant.again() } -> std::same_as<Object>;
      { constant.id() } noexcept -> std::same_as<object_id>;
      { constant.capacity() } noexcept -> std::same_as<std::size_t>;
      { constant.mode() } noexcept -> std::same_as<access>;
      { constant.name() } noexcept -> std::same_as<const std::string&>;
      { constant.native_handle() } noexcept -> std::same_as<typename Object::native_handle_type>;
      { constant.reachable() } noexcept -> std::same_as<bool>;
    };

template <class Mapping, class Object>
concept mapping_contract =
    movable_handle<Mapping> &&
    requires(Mapping& place, const Mapping& constant, Object object, void* at, std::size_t n) {
      { Mapping::map(std::move(object), at) } -> std::same_as<Mapping>;
      { constant.base() } noexcept -> std::same_as<std::byte*>;
      { constant.private_area() } noexcept -> std::same_as<std::byte*>;
      { constant.capacity() } noexcept -> std::same_as<std::size_t>;
      { constant.object() } noexcept -> std::same_as<const Object&>;
      { place.publish(std::string_view{}) } -> std::same_as<void>;
      { place.publish_file(std::string_view{}) } -> std::same_as<void>;
      { place.prefer_huge_pages() } noexcept -> std::same_as<bool>;
      { place.commit(n, n) } -> std::same_as<bool>;
      { place.release(n, n) } -> std::same_as<std::size_t>;
      { place.adopt(n) } noexcept -> std::same_as<bool>;
      { constant.grows_by_mappings() } noexcept -> std::same_as<bool>;
      { constant.backed_bytes() } noexcept -> std::same_as<std::size_t>;
    };

template <class Slot, class Mapping>
concept parking_slot_contract = requires(Slot& slot, const Mapping& place, std::uint32_t number,
                                         parking_cell& cell, steady_time deadline) {
  { Slot(place, number, cell) };
  { slot.ticket() } noexcept -> std::same_as<std::uint32_t>;
  { slot.park(number, deadline) } noexcept -> std::same_as<park_outcome>;
  { slot.unpark() } noexcept -> std::same_as<void>;
};

template <class Bell>
concept doorbell_contract =
    movable_handle<Bell> &&
    requires(Bell& bell, const Bell& constant, const object_id& of, std::uint32_t number) {
      { Bell::make(of, number) } -> std::same_as<Bell>;
      { Bell::ring(of, number) } noexcept -> std::same_as<void>;
      { constant.native_handle() } noexcept -> std::same_as<typename Bell::native_handle_type>;
      { bell.answer() } noexcept -> std::same_as<void>;
    };

template <class Line, class Hold, class Mapping>
concept life_line_contract =
    movable_handle<Line> && movable_handle<Hold> && std::default_initializable<Hold> &&
    requires(Line& line, const Line& constant, const Hold& hold, const Mapping& place,
             std::uint32_t slot, const process_identity& recorded) {
      { Line::of(place) } -> std::same_as<Line>;
      { line.take(slot) } -> std::same_as<Hold>;
      { constant.probe(slot, recorded) } noexcept -> std::same_as<life>;
      { static_cast<bool>(hold) } noexcept;
    };

}  // namespace ipcpp::platform
