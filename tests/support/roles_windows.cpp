// roles.hpp on Windows.
#include "roles.hpp"

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>

namespace test {

namespace {

HANDLE as_handle(std::intptr_t value) {
  return reinterpret_cast<HANDLE>(value);
}

// Everything started goes into one job that ends with this process.
HANDLE job() {
  static const HANDLE only = [] {
    const HANDLE made = ::CreateJobObjectW(nullptr, nullptr);
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    ::SetInformationJobObject(made, JobObjectExtendedLimitInformation, &limits, sizeof limits);
    return made;
  }();
  return only;
}

std::string quoted(const std::vector<std::string>& command) {
  std::string line;
  for (const auto& word : command) line += (line.empty() ? "\"" : " \"") + word + "\"";
  return line;
}

struct started {
  HANDLE process = nullptr;
  DWORD pid = 0;
  HANDLE input = nullptr;
  HANDLE output = nullptr;
};

started start(const std::vector<std::string>& command) {
  SECURITY_ATTRIBUTES inherit{sizeof inherit, nullptr, TRUE};
  HANDLE child_in = nullptr;
  HANDLE child_out = nullptr;
  started s;
  if (!::CreatePipe(&child_in, &s.input, &inherit, 0) ||
      !::CreatePipe(&s.output, &child_out, &inherit, 0))
    throw std::runtime_error("CreatePipe");
  ::SetHandleInformation(s.input, HANDLE_FLAG_INHERIT, 0);
  ::SetHandleInformation(s.output, HANDLE_FLAG_INHERIT, 0);
  STARTUPINFOA info{};
  info.cb = sizeof info;
  info.dwFlags = STARTF_USESTDHANDLES;
  info.hStdInput = child_in;
  info.hStdOutput = child_out;
  info.hStdError = ::GetStdHandle(STD_ERROR_HANDLE);
  PROCESS_INFORMATION made{};
  std::string line = quoted(command);
  const BOOL ok = ::CreateProcessA(nullptr, line.data(), nullptr, nullptr, TRUE, CREATE_SUSPENDED,
                                   nullptr, nullptr, &info, &made);
  ::CloseHandle(child_in);
  ::CloseHandle(child_out);
  if (!ok) throw std::runtime_error("CreateProcess " + line);
  ::AssignProcessToJobObject(job(), made.hProcess);
  ::ResumeThread(made.hThread);
  ::CloseHandle(made.hThread);
  s.process = made.hProcess;
  s.pid = made.dwProcessId;
  return s;
}

}  // namespace

const std::string& own_path() {
  static const std::string path = [] {
    char text[4096];
    return std::string(text, ::GetModuleFileNameA(nullptr, text, sizeof text));
  }();
  return path;
}

child::child(const std::string& role, const arguments& args) {
  std::vector<std::string> command{own_path(), "--role=" + role};
  command.insert(command.end(), args.begin(), args.end());
  const started s = start(command);
  pid_ = s.pid;
  process_ = reinterpret_cast<std::intptr_t>(s.process);
  input_ = reinterpret_cast<std::intptr_t>(s.input);
  output_ = reinterpret_cast<std::intptr_t>(s.output);
}

child::child(child&& other) noexcept
    : pid_(other.pid_),
      process_(other.process_),
      input_(other.input_),
      output_(other.output_),
      buffered_(std::move(other.buffered_)),
      gone_(other.gone_) {
  other.gone_ = true;
  other.process_ = other.input_ = other.output_ = -1;
}

child::~child() {
  kill();
  for (const std::intptr_t handle : {process_, input_, output_})
    if (handle != -1) ::CloseHandle(as_handle(handle));
}

std::string child::hear() {
  for (;;) {
    if (const auto end = buffered_.find('\n'); end != std::string::npos) {
      std::string line = buffered_.substr(0, end);
      buffered_.erase(0, end + 1);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      return line;
    }
    char text[4096];
    DWORD n = 0;
    if (!::ReadFile(as_handle(output_), text, sizeof text, &n, nullptr) || n == 0) return "";
    buffered_.append(text, n);
  }
}

void child::say(const std::string& line) {
  const std::string text = line + "\n";
  DWORD n = 0;
  ::WriteFile(as_handle(input_), text.data(), static_cast<DWORD>(text.size()), &n, nullptr);
}

void child::kill() {
  if (gone_) return;
  ::TerminateProcess(as_handle(process_), 9);
  ::WaitForSingleObject(as_handle(process_), INFINITE);
  gone_ = true;
}

int child::wait() {
  if (input_ != -1) ::CloseHandle(as_handle(input_));
  input_ = -1;
  if (gone_) return -1;
  ::WaitForSingleObject(as_handle(process_), INFINITE);
  DWORD status = 0;
  ::GetExitCodeProcess(as_handle(process_), &status);
  gone_ = true;
  return static_cast<int>(status);
}

outcome run(const std::vector<std::string>& command) {
  const started s = start(command);
  ::CloseHandle(s.input);
  outcome result;
  char text[4096];
  for (DWORD n = 0; ::ReadFile(s.output, text, sizeof text, &n, nullptr) && n > 0;)
    result.output.append(text, n);
  ::WaitForSingleObject(s.process, INFINITE);
  DWORD status = 0;
  ::GetExitCodeProcess(s.process, &status);
  result.status = static_cast<int>(status);
  ::CloseHandle(s.process);
  ::CloseHandle(s.output);
  return result;
}

std::string unique_name() {
  static std::atomic<int> count{0};
  return "test." + std::to_string(::GetCurrentProcessId()) + "." + std::to_string(++count);
}

bool ran_as_role(int argc, char** argv, int& status) {
  const std::string first = argc > 1 ? argv[1] : "";
  if (!first.starts_with("--role=")) return false;
  const auto role = roles().find(first.substr(7));
  if (role == roles().end()) throw std::runtime_error("no role " + first);
  status = role->second(arguments(argv + 2, argv + argc));
  return true;
}

void prepare_directory() {}  // names go with their last user

}  // namespace test
