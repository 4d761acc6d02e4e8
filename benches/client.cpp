// One workload through the C ABI, as in an application: attachments as views, publications by subscription callback,
// calls by completion. Prints one line of JSON.
//
//   client <url> <workload> <parameters...>     (WSLINK_PROTOCOL=1|2, WSLINK_DELIVERY=io|queue, WSLINK_ONE_BY_ONE=1)
//
//   latency N            blocking calls, one after the other
//   latencycb N          each completion makes the next call
//   pipeline N DEPTH     DEPTH calls outstanding
//   fanin N              N small publications to a subscription
//   fanin-nobody N       N small publications without a subscription
//   blob SIZE N          N publications of SIZE bytes
//   structured KIND N R  R replies with N floats, records or strings, every value read: floats one per call, fields of
//                        records by key, strings many per call (WSLINK_ONE_BY_ONE: one per call)
//   bulk N R             R replies with N floats, copied in one call
//   decode KIND N R      decodes a reply R times from memory and reads every value, floats in one call; no server
//   upload SIZE N        N uploads of SIZE bytes, by reference
//   connect N            connect, hello, close
#include <wslink.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <string>
#include <string_view>
#include <vector>

#include "messages.hpp"
#include "meter.hpp"

namespace {

using bench::die;
using bench::meter;

[[noreturn]] void die(const char *what, wslink_error *error) {
  std::fprintf(stderr, "%s: ", what);
  die(wslink_error_message(error));
}

wslink_str str(const char *text) { return wslink_str_from(text); }

int wanted_protocol() {
  const char *text = std::getenv("WSLINK_PROTOCOL");
  return text ? std::atoi(text) : 0;
}

// A session, and the reused arguments of its calls.
class client {
public:
  client(const char *url, bool io_thread) {
    if (const char *where = std::getenv("WSLINK_DELIVERY"))
      io_thread = std::string_view(where) == "io";
    queued_ = !io_thread;
    wslink_error *error = nullptr;
    wslink_config *config = nullptr;
    if (wslink_config_new(url, &config, &error))
      die("config", error);
    wslink_config_set_protocol(config, wanted_protocol(), nullptr);
    wslink_config_set_delivery(config, queued_ ? WSLINK_DELIVERY_QUEUED : WSLINK_DELIVERY_IO_THREAD, nullptr);
    if (wslink_session_new(config, &session, &error))
      die("session", error);
    wslink_config_free(config);
    if (wslink_session_connect_wait(session, &error))
      die("connect", error);
  }
  ~client() {
    wslink_session_close_wait(session, 5000, nullptr);
    wslink_session_free(session);
    wslink_args_free(args);
  }
  client(const client &) = delete;
  client &operator=(const client &) = delete;

  const wslink_document *wait(const char *method) {
    wslink_error *error = nullptr;
    const wslink_document *reply = nullptr;
    if (wslink_session_call_wait(session, str(method), args, nullptr, &reply, &error))
      die(method, error);
    return reply;
  }
  void call(const char *method, wslink_completion_fn done, void *user) {
    wslink_error *error = nullptr;
    if (wslink_session_call(session, str(method), args, nullptr, done, user, nullptr, nullptr, &error))
      die(method, error);
  }
  void subscribe(const char *topic, wslink_publication_fn take, void *user) {
    wslink_subscribe_options options = WSLINK_SUBSCRIBE_OPTIONS_INIT;
    options.capacity = UINT32_MAX;
    wslink_session_subscribe(session, str(topic), &options, take, user, nullptr, nullptr, nullptr);
  }
  void echo_args(long i) {
    wslink_args_begin_map(args, nullptr);
    wslink_args_key(args, str("i"), nullptr);
    wslink_args_add_int(args, i, nullptr);
    wslink_args_key(args, str("s"), nullptr);
    wslink_args_add_string(args, str("ping"), nullptr);
    wslink_args_end(args, nullptr);
  }
  // Runs callbacks until one of them calls finish(). With delivery on the I/O thread it only waits.
  void run() {
    if (!queued_)
      return over_.get_future().wait();
    while (!finished_)
      wslink_session_dispatch(session, 0, 1000, nullptr);
  }
  void finish() {
    finished_ = true;
    over_.set_value();
  }

  wslink_session *session = nullptr;
  wslink_args *args = wslink_args_new();

private:
  bool queued_, finished_ = false;
  std::promise<void> over_;
};

std::int64_t member(const wslink_document *message, const char *key) {
  wslink_value value;
  std::int64_t number = -1;
  if (!wslink_value_find(wslink_document_result(message), str(key), &value) || !wslink_value_get_int(value, &number))
    die(key);
  return number;
}

// The sum of all numbers, string sizes and key sizes.
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

double see_strings_one_by_one(wslink_value list) {
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

double see_strings(wslink_value list) {
  if (bench::one_by_one())
    return see_strings_one_by_one(list);
  size_t sum = 0;
  wslink_str texts[64];
  wslink_iter it = wslink_value_iter(list);
  while (const size_t count = wslink_iter_next_strings(&it, texts, std::size(texts)))
    for (size_t i = 0; i < count; i++)
      sum += texts[i].len;
  wslink_value other;
  if (wslink_iter_next(&it, nullptr, &other))
    die("string");
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

// Calls with DEPTH of them in flight.
struct pipeline {
  client &to;
  meter &times;
  long total, depth, sent = 0, done = 0;

  void next() {
    to.echo_args(sent++);
    to.call("bench.echo", &pipeline::completed, this);
  }
  static void begin(void *user, const wslink_document *, const wslink_error *) {
    auto *self = static_cast<pipeline *>(user);
    while (self->sent < self->depth && self->sent < self->total)
      self->next();
  }
  static void completed(void *user, const wslink_document *reply, const wslink_error *error) {
    auto *self = static_cast<pipeline *>(user);
    if (error)
      die("bench.echo");
    self->times.check += member(reply, "i") == self->done;
    if (self->depth == 1)
      self->times.end_lap();
    if (self->sent < self->total)
      self->next();
    if (++self->done == self->total)
      self->to.finish();
  }
};

// Receives publications until the reply to the call that requested them.
struct stream {
  client &from;
  meter &times;
  std::size_t size;
  long seen = 0;
  double sum = 0;

  static void small(void *user, wslink_str, const wslink_document *message, const wslink_error *) {
    auto *self = static_cast<stream *>(user);
    self->sum += double(member(message, "i"));
    self->seen++;
  }
  static void blob(void *user, wslink_str, const wslink_document *message, const wslink_error *) {
    auto *self = static_cast<stream *>(user);
    wslink_value value;
    wslink_bytes bytes;
    if (!wslink_value_find(wslink_document_result(message), str("blob"), &value) ||
        !wslink_value_get_bytes(value, &bytes))
      die("blob");
    bench::check_blob(bytes.ptr, bytes.len, self->size);
    if (member(message, "mtime") != self->seen)
      die("order");
    self->seen++;
    self->times.end_lap();
  }
  static void finished(void *user, const wslink_document *, const wslink_error *error) {
    if (error)
      die("publish");
    static_cast<stream *>(user)->from.finish();
  }
};

} // namespace

int main(int argc, char **argv) {
  if (argc < 3)
    die("usage: client <url> <workload> <parameters...>");
  const char *url = argv[1];
  const std::string_view workload = argv[2];
  auto number = [&](int i) {
    if (i + 3 >= argc)
      die("a number is missing");
    return std::atol(argv[i + 3]);
  };
  meter times;
  int protocol = wanted_protocol();
  if (workload == "connect") {
    times.begin();
    for (long i = 0; i < number(0); i++) {
      times.start_lap();
      {
        const client c(url, true);
        protocol = wslink_session_protocol(c.session);
      }
      times.end_lap();
    }
    times.ops = times.check = double(number(0));
  } else if (workload == "decode") {
    const long count = number(1), repeats = number(2);
    const std::string kind = argv[3];
    const bool json = protocol == 1;
    const std::string text =
        (json ? bench::message<bench::Json> : bench::message<bench::Msgpack>)(kind, std::size_t(count));
    std::vector<double> out;
    const auto once = [&] {
      wslink_error *error = nullptr;
      const wslink_document *message = nullptr;
      if (wslink_document_decode(reinterpret_cast<const std::uint8_t *>(text.data()), text.size(),
                                 json ? WSLINK_ENCODING_JSON : WSLINK_ENCODING_MSGPACK, &message, &error))
        die("decode", error);
      const wslink_value result = wslink_document_result(message);
      times.check = kind == "floats" ? see_in_bulk(result, out) : see(kind, result);
      wslink_document_unref(message);
    };
    times.repeat(repeats, once);
    protocol = json ? 1 : 2;
    times.ops = double(count * repeats);
    times.bytes = double(text.size()) * double(repeats);
  } else {
    const bool waits = workload == "latency" || workload == "structured" || workload == "bulk" || workload == "upload";
    client c(url, !waits);
    protocol = wslink_session_protocol(c.session);
    if (workload == "latency") {
      auto once = [&](long i) {
        c.echo_args(i);
        const wslink_document *reply = c.wait("bench.echo");
        const bool right = member(reply, "i") == i;
        wslink_document_unref(reply);
        return right;
      };
      for (long i = 0; i < 500; i++)
        once(i);
      times.begin();
      for (long i = 0; i < number(0); i++) {
        times.start_lap();
        times.check += once(i);
        times.end_lap();
      }
      times.ops = double(number(0));
    } else if (workload == "latencycb" || workload == "pipeline") {
      pipeline calls{c, times, number(0), workload == "pipeline" ? number(1) : 1};
      times.begin();
      // The thread that completes the calls also makes them.
      c.echo_args(0);
      c.call("bench.echo", &pipeline::begin, &calls);
      c.run();
      times.ops = double(calls.done);
    } else if (workload == "fanin" || workload == "fanin-nobody") {
      const bool subscribed = workload == "fanin";
      stream messages{c, times, 0};
      if (subscribed)
        c.subscribe("bench.small", &stream::small, &messages);
      times.begin();
      wslink_args_add_string(c.args, str("bench.small"), nullptr);
      wslink_args_add_int(c.args, number(0), nullptr);
      c.call("bench.publish.small", &stream::finished, &messages);
      c.run();
      times.ops = double(subscribed ? messages.seen : number(0));
      times.check = messages.sum;
    } else if (workload == "blob") {
      stream messages{c, times, std::size_t(number(0))};
      c.subscribe("bench.blob", &stream::blob, &messages);
      times.begin();
      wslink_args_add_string(c.args, str("bench.blob"), nullptr);
      wslink_args_add_int(c.args, number(1), nullptr);
      wslink_args_add_int(c.args, number(0), nullptr);
      c.call("bench.publish.blob", &stream::finished, &messages);
      c.run();
      times.ops = times.check = double(messages.seen);
      times.bytes = double(number(0)) * double(messages.seen);
    } else if (workload == "structured" || workload == "bulk") {
      const bool bulk = workload == "bulk";
      const long count = number(bulk ? 0 : 1), repeats = number(bulk ? 1 : 2);
      const char *kind = bulk ? "floats" : argv[3];
      std::vector<double> out;
      auto ask = [&](long size) {
        wslink_args_add_string(c.args, str(kind), nullptr);
        wslink_args_add_int(c.args, size, nullptr);
        return c.wait("bench.structured");
      };
      wslink_document_unref(ask(10));
      times.begin();
      for (long i = 0; i < repeats; i++) {
        times.start_lap();
        const wslink_document *reply = ask(count);
        const wslink_value result = wslink_document_result(reply);
        times.check = bulk ? see_in_bulk(result, out) : see(kind, result);
        times.bytes += double(wslink_document_wire_size(reply));
        wslink_document_unref(reply);
        times.end_lap();
      }
      times.ops = double(count * repeats);
    } else if (workload == "upload") {
      const long size = number(0), count = number(1);
      const std::vector<std::uint8_t> data = bench::blob(std::size_t(size));
      times.begin();
      for (long i = 0; i < count; i++) {
        times.start_lap();
        wslink_args_add_buffer(c.args, data.data(), data.size(), nullptr, nullptr, nullptr);
        const wslink_document *reply = c.wait("bench.upload");
        std::int64_t taken = -1;
        wslink_value_get_int(wslink_document_result(reply), &taken);
        times.check += taken == size;
        wslink_document_unref(reply);
        times.end_lap();
      }
      times.ops = double(count);
      times.bytes = double(size) * double(count);
    } else {
      die("no such workload");
    }
    times.end();
  }
  times.report("wslink", protocol, argc, argv);
}
