// One workload through the C ABI, as an application would do it: attachments by a value view, publications by a
// subscription callback, calls by completions. Prints one line of JSON.
//
//   client <url> <workload> <parameters...>     (WSLINK_PROTOCOL=1|2, WSLINK_DELIVERY=io|queue)
//
//   latency N            blocking calls, one after the other
//   latencycb N          the next call is made in the completion of the one before
//   pipeline N DEPTH     DEPTH calls outstanding
//   fanin N              N small publications to a subscription
//   fanin-nobody N       the same without a subscription
//   blob SIZE N          N publications of SIZE bytes
//   structured KIND N R  R replies with N floats, records or strings, every value read: floats and strings one by one,
//                        the fields of records by key
//   bulk N R             the same for floats, copied in one call
//   decode KIND N R      decodes such a reply R times from memory and reads every value, floats in one call; no server
//   upload SIZE N        N uploads of SIZE bytes, by reference
//   connect N            connect, hello, close
#include <sys/resource.h>
#include <time.h>
#include <wslink.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "messages.hpp"

namespace {

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

double cpu() {
  rusage u;
  getrusage(RUSAGE_SELF, &u);
  return double(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + double(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

[[noreturn]] void die(const char *what, wslink_error *error = nullptr) {
  fprintf(stderr, "%s%s%s\n", what, error ? ": " : "", error ? wslink_error_message(error) : "");
  exit(4);
}

// Times what lies between begin() and report().
class Meter {
public:
  std::vector<double> laps;

  void begin() {
    wall_ = now();
    cpu_ = cpu();
  }
  void report(int argc, char **argv, int protocol, double ops, double bytes, double check) {
    double seconds = now() - wall_, used = cpu() - cpu_;
    rusage u;
    getrusage(RUSAGE_SELF, &u);
    std::string params;
    for (int i = 3; i < argc; i++)
      params += (i > 3 ? " " : "") + std::string(argv[i]);
    std::sort(laps.begin(), laps.end());
    auto quantile = [this](double q) {
      return laps.empty() ? std::string("null") : std::to_string(laps[size_t(double(laps.size() - 1) * q)] * 1e6);
    };
    printf("{\"client\":\"wslink\",\"proto\":\"v%d\",\"workload\":\"%s\",\"params\":\"%s\",\"seconds\":%.6f,"
           "\"ops_per_s\":%.2f,\"mb_per_s\":%.2f,\"p50_us\":%s,\"p99_us\":%s,\"cpu_s\":%.4f,\"max_rss_kb\":%ld,"
           "\"check\":%.6g}\n",
           protocol, argv[2], params.c_str(), seconds, ops / seconds, bytes / seconds / 1e6, quantile(0.5).c_str(),
           quantile(0.99).c_str(), used, u.ru_maxrss, check);
  }

private:
  double wall_ = 0, cpu_ = 0;
};

wslink_str str(const char *text) { return wslink_str_from(text); }

// The end of a run on the I/O thread, for the main thread.
struct Flag {
  std::mutex mutex;
  std::condition_variable changed;
  bool up = false;
  void raise() {
    std::lock_guard<std::mutex> lock(mutex);
    up = true;
    changed.notify_one();
  }
  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [this] { return up; });
  }
} over;

struct Client {
  wslink_session *session = nullptr;
  wslink_args *args = wslink_args_new();
  bool queued = false;

  void open(const char *url, bool io_thread) {
    wslink_error *e = nullptr;
    wslink_config *config = nullptr;
    if (wslink_config_new(url, &config, &e))
      die("config", e);
    if (const char *p = getenv("WSLINK_PROTOCOL"))
      wslink_config_set_protocol(config, atoi(p), nullptr);
    if (const char *d = getenv("WSLINK_DELIVERY"))
      io_thread = std::string(d) == "io";
    queued = !io_thread;
    wslink_config_set_delivery(config, io_thread ? WSLINK_DELIVERY_IO_THREAD : WSLINK_DELIVERY_QUEUED, nullptr);
    if (wslink_session_new(config, &session, &e))
      die("session", e);
    wslink_config_free(config);
    if (wslink_session_connect_wait(session, &e))
      die("connect", e);
  }
  void close() {
    wslink_session_close_wait(session, 5000, nullptr);
    wslink_session_free(session);
  }
  const wslink_document *wait(const char *method) {
    wslink_error *e = nullptr;
    const wslink_document *reply = nullptr;
    if (wslink_session_call_wait(session, str(method), args, nullptr, &reply, &e))
      die(method, e);
    return reply;
  }
  void call(const char *method, wslink_completion_fn done, void *user) {
    wslink_error *e = nullptr;
    if (wslink_session_call(session, str(method), args, nullptr, done, user, nullptr, nullptr, &e))
      die(method, e);
  }
  void echo_args(long i) {
    wslink_args_begin_map(args, nullptr);
    wslink_args_key(args, str("i"), nullptr);
    wslink_args_add_int(args, i, nullptr);
    wslink_args_key(args, str("s"), nullptr);
    wslink_args_add_string(args, str("ping"), nullptr);
    wslink_args_end(args, nullptr);
  }
  template <class Done>
  void run_until(Done done) {
    if (!queued)
      return over.wait();
    while (!done())
      wslink_session_dispatch(session, 0, 1000, nullptr);
  }
};

int64_t member(const wslink_document *d, const char *key) {
  wslink_value v;
  int64_t i = -1;
  if (!wslink_value_find(wslink_document_result(d), str(key), &v) || !wslink_value_get_int(v, &i))
    die(key);
  return i;
}

uint8_t pattern(size_t p) {
  p %= size_t(1) << 20;
  return uint8_t(p * 31 + p / 251);
}

// The sum of all numbers, of the sizes of all strings and of the keys.
double see_floats(wslink_value list) {
  double sum = 0, v;
  wslink_value each;
  wslink_iter it = wslink_value_iter(list);
  while (wslink_iter_next(&it, nullptr, &each)) {
    if (!wslink_value_get_double(each, &v))
      die("float");
    sum += v;
  }
  return sum;
}

double see_strings(wslink_value list) {
  size_t sum = 0;
  wslink_str v;
  wslink_value each;
  wslink_iter it = wslink_value_iter(list);
  while (wslink_iter_next(&it, nullptr, &each)) {
    if (!wslink_value_get_string(each, &v))
      die("string");
    sum += v.len;
  }
  return double(sum);
}

double see_records(wslink_value list) {
  static const wslink_str id = str("id"), name = str("name"), visible = str("visible"), opacity = str("opacity"),
                          position = str("position"), parent = str("parent"), mtime = str("mtime"), kind = str("kind");
  static const double keys = 2 + 4 + 7 + 7 + 8 + 6 + 5 + 4;
  double sum = 0;
  wslink_value record;
  wslink_iter it = wslink_value_iter(list);
  while (wslink_iter_next(&it, nullptr, &record)) {
    wslink_value v;
    wslink_str s = {nullptr, 0}, k = {nullptr, 0};
    double i, o, p[3], t, above = 0;
    bool b;
    size_t n;
    bool all = wslink_value_find(record, id, &v) && wslink_value_get_double(v, &i) &&      //
               wslink_value_find(record, name, &v) && wslink_value_get_string(v, &s) &&    //
               wslink_value_find(record, visible, &v) && wslink_value_get_bool(v, &b) &&   //
               wslink_value_find(record, opacity, &v) && wslink_value_get_double(v, &o) && //
               wslink_value_find(record, position, &v) &&                                  //
               wslink_value_copy_doubles(v, p, 3, &n) && n == 3 &&                         //
               wslink_value_find(record, parent, &v) &&                                    //
               (wslink_value_get_double(v, &above) || wslink_value_is_null(v)) &&          //
               wslink_value_find(record, mtime, &v) && wslink_value_get_double(v, &t) &&   //
               wslink_value_find(record, kind, &v) && wslink_value_get_string(v, &k);
    if (!all)
      die("record");
    sum += i + double(s.len) + b + o + p[0] + p[1] + p[2] + above + t + double(k.len) + keys;
  }
  return sum;
}

double see(const std::string &kind, wslink_value list) {
  return kind == "floats" ? see_floats(list) : kind == "strings" ? see_strings(list) : see_records(list);
}

double see_in_bulk(wslink_value list, std::vector<double> &to) {
  to.resize(wslink_value_size(list));
  if (!wslink_value_copy_doubles(list, to.data(), to.size(), nullptr))
    die("copy");
  double sum = 0;
  for (double v : to)
    sum += v;
  return sum;
}

struct Calls {
  Client *client;
  Meter *meter;
  long total, sent = 0, done = 0, ok = 0;
  std::vector<double> begun;

  void next() {
    client->echo_args(sent);
    begun[size_t(sent)] = now();
    sent++;
    client->call("bench.echo", &Calls::completed, this);
  }
  static void completed(void *user, const wslink_document *reply, const wslink_error *error) {
    auto *self = static_cast<Calls *>(user);
    if (error)
      die("bench.echo");
    self->ok += member(reply, "i") == self->done;
    self->meter->laps.push_back(now() - self->begun[size_t(self->done)]);
    if (self->sent < self->total)
      self->next();
    if (++self->done == self->total)
      over.raise();
  }
};

struct Stream {
  long seen = 0, done = 0;
  double sum = 0, last = 0;
  size_t size = 0;
  Meter *meter = nullptr;

  static void small(void *user, wslink_str, const wslink_document *message, const wslink_error *) {
    auto *self = static_cast<Stream *>(user);
    self->sum += double(member(message, "i"));
    self->seen++;
  }
  static void blob(void *user, wslink_str, const wslink_document *message, const wslink_error *) {
    auto *self = static_cast<Stream *>(user);
    wslink_value v;
    wslink_bytes b;
    if (!wslink_value_find(wslink_document_result(message), str("blob"), &v) || !wslink_value_get_bytes(v, &b))
      die("blob");
    if (b.len != self->size || (b.len && (b.ptr[0] != pattern(0) || b.ptr[b.len - 1] != pattern(b.len - 1))))
      die("wrong blob");
    if (member(message, "mtime") != self->seen)
      die("order");
    self->seen++;
    double t = now();
    self->meter->laps.push_back(t - self->last);
    self->last = t;
  }
  static void finished(void *user, const wslink_document *, const wslink_error *error) {
    if (error)
      die("publish");
    static_cast<Stream *>(user)->done = 1;
    over.raise();
  }
};

} // namespace

int main(int argc, char **argv) {
  if (argc < 3)
    die("usage: client <url> <workload> <parameters...>");
  std::string workload = argv[2];
  auto number = [&](int i, long otherwise) { return i + 3 < argc ? atol(argv[i + 3]) : otherwise; };
  Meter m;
  if (workload == "connect") {
    long n = number(0, 200);
    m.begin();
    int protocol = 0;
    for (long i = 0; i < n; i++) {
      double t = now();
      Client c;
      c.open(argv[1], true);
      protocol = wslink_session_protocol(c.session);
      c.close();
      wslink_args_free(c.args);
      m.laps.push_back(now() - t);
    }
    m.report(argc, argv, protocol, double(n), 0, double(n));
    return 0;
  }
  if (workload == "decode") {
    const char *p = getenv("WSLINK_PROTOCOL");
    bool json = p && atoi(p) == 1;
    std::string kind = argc > 3 ? argv[3] : "floats";
    long n = number(1, 1), repeats = number(2, 1);
    std::string text = (json ? bench::message<bench::Json> : bench::message<bench::Msgpack>)(kind, size_t(n));
    auto *data = reinterpret_cast<const uint8_t *>(text.data());
    double sum = 0;
    std::vector<double> out;
    m.begin();
    for (long i = 0; i < repeats; i++) {
      double t = now();
      wslink_error *e = nullptr;
      const wslink_document *d = nullptr;
      if (wslink_document_decode(data, text.size(), json ? WSLINK_ENCODING_JSON : WSLINK_ENCODING_MSGPACK, &d, &e))
        die("decode", e);
      wslink_value result = wslink_document_result(d);
      sum = kind == "floats" ? see_in_bulk(result, out) : see(kind, result);
      wslink_document_unref(d);
      m.laps.push_back(now() - t);
    }
    m.report(argc, argv, json ? 1 : 2, double(n) * double(repeats), double(text.size()) * double(repeats), sum);
    return 0;
  }
  Client c;
  bool waits = workload == "latency" || workload == "structured" || workload == "bulk" || workload == "upload";
  c.open(argv[1], !waits);
  int protocol = wslink_session_protocol(c.session);
  if (workload == "latency") {
    long n = number(0, 20000), ok = 0;
    auto once = [&](long i) {
      c.echo_args(i);
      const wslink_document *d = c.wait("bench.echo");
      ok += member(d, "i") == i;
      wslink_document_unref(d);
    };
    for (long i = 0; i < 500; i++)
      once(i);
    ok = 0;
    m.begin();
    for (long i = 0; i < n; i++) {
      double t = now();
      once(i);
      m.laps.push_back(now() - t);
    }
    m.report(argc, argv, protocol, double(n), 0, double(ok));
  } else if (workload == "latencycb" || workload == "pipeline") {
    long n = number(0, 20000), depth = workload == "pipeline" ? number(1, 64) : 1;
    Calls calls{&c, &m, n, 0, 0, 0, std::vector<double>(size_t(n))};
    // The calls in flight begin on the thread that also completes them.
    struct Start {
      Calls *calls;
      long depth;
    } start{&calls, depth};
    m.laps.reserve(size_t(n));
    m.begin();
    c.echo_args(0);
    c.call(
        "bench.echo",
        [](void *user, const wslink_document *, const wslink_error *) {
          auto *s = static_cast<Start *>(user);
          while (s->calls->sent < s->depth)
            s->calls->next();
        },
        &start);
    c.run_until([&] { return calls.done == n; });
    m.report(argc, argv, protocol, double(n), 0, double(calls.ok));
  } else if (workload == "fanin" || workload == "fanin-nobody") {
    long n = number(0, 1000000);
    Stream s;
    wslink_subscribe_options o = WSLINK_SUBSCRIBE_OPTIONS_INIT;
    o.capacity = UINT32_MAX;
    if (workload == "fanin") {
      wslink_session_subscribe(c.session, str("bench.small"), &o, &Stream::small, &s, nullptr, nullptr, nullptr);
    }
    m.begin();
    wslink_args_add_string(c.args, str("bench.small"), nullptr);
    wslink_args_add_int(c.args, n, nullptr);
    c.call("bench.publish.small", &Stream::finished, &s);
    c.run_until([&] { return s.done == 1; });
    m.report(argc, argv, protocol, double(workload == "fanin" ? s.seen : n), 0, s.sum);
  } else if (workload == "blob") {
    long size = number(0, 0), n = number(1, 1);
    Stream s;
    s.size = size_t(size);
    s.meter = &m;
    wslink_subscribe_options o = WSLINK_SUBSCRIBE_OPTIONS_INIT;
    wslink_session_subscribe(c.session, str("bench.blob"), &o, &Stream::blob, &s, nullptr, nullptr, nullptr);
    m.begin();
    s.last = now();
    wslink_args_add_string(c.args, str("bench.blob"), nullptr);
    wslink_args_add_int(c.args, n, nullptr);
    wslink_args_add_int(c.args, size, nullptr);
    c.call("bench.publish.blob", &Stream::finished, &s);
    c.run_until([&] { return s.done == 1; });
    m.report(argc, argv, protocol, double(s.seen), double(size) * double(s.seen), double(s.seen));
  } else if (workload == "structured" || workload == "bulk") {
    bool bulk = workload == "bulk";
    const char *kind = bulk ? "floats" : argv[3];
    long n = number(bulk ? 0 : 1, 1), repeats = number(bulk ? 1 : 2, 1);
    double sum = 0, bytes = 0;
    std::vector<double> out;
    auto ask = [&](long count) {
      wslink_args_add_string(c.args, str(kind), nullptr);
      wslink_args_add_int(c.args, count, nullptr);
      return c.wait("bench.structured");
    };
    wslink_document_unref(ask(10));
    m.begin();
    for (long i = 0; i < repeats; i++) {
      double t = now();
      const wslink_document *d = ask(n);
      sum = bulk ? see_in_bulk(wslink_document_result(d), out) : see(kind, wslink_document_result(d));
      bytes += double(wslink_document_wire_size(d));
      wslink_document_unref(d);
      m.laps.push_back(now() - t);
    }
    m.report(argc, argv, protocol, double(n) * double(repeats), bytes, sum);
  } else if (workload == "upload") {
    long size = number(0, 0), n = number(1, 1), ok = 0;
    std::vector<uint8_t> data(static_cast<size_t>(size));
    for (size_t i = 0; i < data.size(); i++)
      data[i] = pattern(i);
    m.begin();
    for (long i = 0; i < n; i++) {
      double t = now();
      wslink_args_add_buffer(c.args, data.data(), data.size(), nullptr, nullptr, nullptr);
      const wslink_document *d = c.wait("bench.upload");
      int64_t got = -1;
      wslink_value_get_int(wslink_document_result(d), &got);
      ok += got == size;
      wslink_document_unref(d);
      m.laps.push_back(now() - t);
    }
    m.report(argc, argv, protocol, double(n), double(size) * double(n), double(ok));
  } else {
    die("no such workload");
  }
  c.close();
  wslink_args_free(c.args);
  return 0;
}
