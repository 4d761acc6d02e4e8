// The cost of idle sessions, and an upload to a slow reader, through the C ABI.
//
//   footprint <url> idle SECONDS        how often the threads of a connected session woke up
//   footprint <url> sessions N          memory of a process for each of N connected sessions, after one call by each
//   footprint <url> slow-upload SIZE N  N uploads of SIZE bytes in one piece, with a send buffer of 64 KiB
//
// WSLINK_PROTOCOL chooses the protocol. Linux only.
#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wslink.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "meter.hpp"

namespace {

using bench::die;

wslink_session *open(const char *url) {
  wslink_config *config = nullptr;
  wslink_session *session = nullptr;
  const char *protocol = std::getenv("WSLINK_PROTOCOL");
  if (wslink_config_new(url, &config, nullptr) ||
      wslink_config_set_protocol(config, protocol ? std::atoi(protocol) : 0, nullptr) ||
      wslink_config_set_v1_upload_limit(config, std::uint64_t(1) << 32, nullptr) ||
      wslink_session_new(config, &session, nullptr) || wslink_session_connect_wait(session, nullptr))
    die("connect");
  wslink_config_free(config);
  return session;
}

void call(wslink_session *session, const char *method, wslink_args *args) {
  const wslink_document *reply = nullptr;
  if (wslink_session_call_wait(session, wslink_str_from(method), args, nullptr, &reply, nullptr))
    die(method);
  wslink_document_unref(reply);
}

// A number from a file in /proc, such as "VmRSS:	 1234 kB".
long number_in(const std::string &path, const char *name) {
  std::FILE *file = std::fopen(path.c_str(), "r");
  if (!file)
    die(path.c_str());
  char line[256];
  long number = -1;
  while (std::fgets(line, sizeof line, file))
    if (std::strncmp(line, name, std::strlen(name)) == 0)
      number = std::atol(line + std::strlen(name));
  std::fclose(file);
  return number;
}

// The voluntary context switches of all other threads, which is the number of their wake-ups.
long wake_ups() {
  long sum = 0;
  DIR *tasks = opendir("/proc/self/task");
  const std::string self = std::to_string(getpid());
  while (dirent *task = readdir(tasks))
    if (task->d_name[0] != '.' && self != task->d_name)
      sum += number_in("/proc/self/task/" + std::string(task->d_name) + "/status", "voluntary_ctxt_switches:");
  closedir(tasks);
  return sum;
}

// Limits the send buffer of every socket of this process, because the library has no option for it.
void limit_send_buffers(int bytes) {
  for (int fd = 3; fd < 256; fd++)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 4)
    die("usage: footprint <url> <workload> <parameters...>");
  const std::string workload = argv[2];
  const long number = std::atol(argv[3]);
  bench::meter times;
  wslink_args *args = wslink_args_new();
  std::vector<wslink_session *> sessions;
  if (workload == "idle") {
    sessions.push_back(open(argv[1]));
    // When the session answers, the work of connecting is over.
    wslink_args_add_int(args, 1, nullptr);
    call(sessions[0], "bench.echo", args);
    usleep(200000);
    times.begin();
    const long before = wake_ups();
    sleep(unsigned(number));
    times.ops = double(number);
    times.check = double(wake_ups() - before);
  } else if (workload == "sessions") {
    sessions.push_back(open(argv[1]));
    const long before = number_in("/proc/self/status", "VmRSS:");
    times.begin();
    for (long i = 0; i < number; i++) {
      sessions.push_back(open(argv[1]));
      wslink_args_add_int(args, i, nullptr);
      call(sessions.back(), "bench.echo", args);
    }
    times.ops = double(number);
    times.check = double(number_in("/proc/self/status", "VmRSS:") - before) / double(number);
  } else if (workload == "slow-upload" && argc > 4) {
    sessions.push_back(open(argv[1]));
    limit_send_buffers(32 << 10); // the kernel doubles it
    const std::vector<std::uint8_t> data(std::size_t(number), 7);
    const long count = std::atol(argv[4]);
    times.begin();
    for (long i = 0; i < count; i++) {
      times.start_lap();
      wslink_args_add_buffer(args, data.data(), data.size(), nullptr, nullptr, nullptr);
      call(sessions[0], "bench.upload", args);
      times.end_lap();
    }
    times.ops = double(count);
    times.bytes = double(number) * double(count);
    times.check = times.ops;
  } else {
    die("no such workload");
  }
  times.report("wslink", wslink_session_protocol(sessions[0]), argc, argv);
  for (wslink_session *session : sessions) {
    wslink_session_close_wait(session, 1000, nullptr);
    wslink_session_free(session);
  }
  wslink_args_free(args);
}
