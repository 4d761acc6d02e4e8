// A C++ client without a client library: protocol 2 with Boost.Beast and msgpack-cxx. One thread runs the io_context,
// so that publications are received while no call waits; calls wait for a future. The command line is that of
// client.cpp. `decode` with WSLINK_PROTOCOL=1 uses nlohmann::json.
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/websocket.hpp>
#include <cstring>
#include <deque>
#include <functional>
#include <future>
#include <msgpack.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "messages.hpp"
#include "meter.hpp"

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using bench::die;
using msgpack::object;

const object &at(const object &map, std::string_view key) {
  for (std::uint32_t i = 0; i < map.via.map.size; i++) {
    const object &name = map.via.map.ptr[i].key;
    if (std::string_view(name.via.str.ptr, name.via.str.size) == key)
      return map.via.map.ptr[i].val;
  }
  die("no such key");
}
std::string_view text(const object &value) { return {value.via.str.ptr, value.via.str.size}; }

// The sum of all numbers, string sizes and key sizes.
double see(const object &value) {
  double sum = 0;
  switch (value.type) {
  case msgpack::type::BOOLEAN:
    return value.via.boolean;
  case msgpack::type::POSITIVE_INTEGER:
    return double(value.via.u64);
  case msgpack::type::FLOAT64:
    return value.via.f64;
  case msgpack::type::STR:
    return value.via.str.size;
  case msgpack::type::ARRAY:
    for (std::uint32_t i = 0; i < value.via.array.size; i++)
      sum += see(value.via.array.ptr[i]);
    return sum;
  case msgpack::type::MAP:
    for (std::uint32_t i = 0; i < value.via.map.size; i++)
      sum += see(value.via.map.ptr[i].key) + see(value.via.map.ptr[i].val);
    return sum;
  default:
    return 0;
  }
}
double see(const nlohmann::json &value) {
  double sum = 0;
  if (value.is_boolean())
    return value.get<bool>();
  if (value.is_number())
    return value.get<double>();
  if (value.is_string())
    return double(value.get_ref<const std::string &>().size());
  if (value.is_array())
    for (const auto &each : value)
      sum += see(each);
  if (value.is_object())
    for (const auto &each : value.items())
      sum += double(each.key().size()) + see(each.value());
  return sum;
}

// Strings and binary data refer to the message.
bool by_reference(msgpack::type::object_type, std::size_t, void *) { return true; }

class client {
public:
  using reply_fn = std::function<void(const object &)>;
  using pack_fn = std::function<void(msgpack::packer<msgpack::sbuffer> &)>;
  reply_fn on_publication = [](const object &) {};

  explicit client(const std::string &url) : socket_(context_) {
    const std::size_t colon = url.rfind(':'), slash = url.find('/', colon);
    tcp::resolver resolver(context_);
    asio::connect(beast::get_lowest_layer(socket_),
                  resolver.resolve(url.substr(5, colon - 5), url.substr(colon + 1, slash - colon - 1)));
    beast::get_lowest_layer(socket_).set_option(tcp::no_delay(true));
    socket_.read_message_max(0);
    socket_.auto_fragment(false);
    socket_.binary(true);
    socket_.handshake(url.substr(5, slash - 5), url.substr(slash));
    read();
    thread_ = std::thread([this] {
      asio::executor_work_guard<asio::io_context::executor_type> work(context_.get_executor());
      context_.run();
    });
    wait(
        "system:c0:0", "wslink.hello", 1, [](auto &to) { to.pack_map(1), to.pack("secret"), to.pack("wslink-secret"); },
        [this](const object &reply) {
          id_ = text(at(reply, "clientID"));
          most_ = at(reply, "maxMsgSize").as<std::size_t>();
        });
  }
  ~client() {
    asio::post(context_, [this] { socket_.async_close(beast::websocket::close_code::normal, [](auto) {}); });
    ended_.get_future().wait();
    context_.stop();
    thread_.join();
  }

  std::string next_id() { return "rpc:" + id_ + ":" + std::to_string(++calls_); }

  void wait(const std::string &id, const char *method, std::uint32_t count, const pack_fn &args, const reply_fn &use) {
    std::promise<void> done;
    send(id, method, count, args, [&](const object &reply) {
      use(reply);
      done.set_value();
    });
    done.get_future().wait();
  }
  // `done` gets the result on the thread of the io_context.
  void send(const std::string &id, const char *method, std::uint32_t count, const pack_fn &args, reply_fn done) {
    msgpack::sbuffer bytes;
    msgpack::packer<msgpack::sbuffer> to(bytes);
    to.pack_map(5);
    to.pack("wslink"), to.pack("1.0"), to.pack("id"), to.pack(id), to.pack("method"), to.pack(method);
    to.pack("args"), to.pack_array(count), args(to), to.pack("kwargs"), to.pack_map(0);
    asio::post(context_, [this, id, bytes = std::move(bytes), done = std::move(done)]() mutable {
      pending_.emplace(id, std::move(done));
      const std::uint32_t total = std::uint32_t(bytes.size());
      messages_++;
      for (std::uint32_t offset = 0; offset < total;) {
        const std::uint32_t size = std::uint32_t(std::min<std::size_t>(total - offset, most_ - 12));
        const std::uint32_t head[3] = {messages_, offset, total};
        std::vector<char> chunk(12 + size);
        std::memcpy(chunk.data(), head, 12);
        std::memcpy(chunk.data() + 12, bytes.data() + offset, size);
        queue_.push_back(std::move(chunk));
        offset += size;
      }
      if (!writing_)
        write();
    });
  }

private:
  void write() {
    writing_ = !queue_.empty();
    if (writing_)
      socket_.async_write(asio::buffer(queue_.front()), [this](beast::error_code failed, std::size_t) {
        if (failed)
          die("write");
        queue_.pop_front();
        write();
      });
  }
  void read() {
    socket_.async_read(buffer_, [this](beast::error_code failed, std::size_t) {
      if (failed)
        return ended_.set_value();
      const char *data = static_cast<const char *>(buffer_.data().data());
      const std::size_t size = buffer_.size() - 12;
      std::uint32_t head[3];
      std::memcpy(head, data, 12);
      if (head[2] == size) {
        take(data + 12, size);
      } else {
        std::vector<char> &joined = unfinished_[head[0]];
        if (joined.empty())
          joined.reserve(head[2]);
        joined.insert(joined.end(), data + 12, data + 12 + size);
        if (joined.size() == head[2]) {
          take(joined.data(), joined.size());
          unfinished_.erase(head[0]);
        }
      }
      buffer_.consume(buffer_.size());
      read();
    });
  }
  void take(const char *data, std::size_t size) {
    const msgpack::object_handle message = msgpack::unpack(data, size, by_reference);
    const std::string_view id = text(at(message.get(), "id"));
    const object &result = at(message.get(), "result");
    if (id.substr(0, 8) == "publish:")
      return on_publication(result);
    auto found = pending_.find(std::string(id));
    if (found == pending_.end())
      die("a reply to nobody");
    reply_fn done = std::move(found->second);
    pending_.erase(found);
    done(result);
  }

  asio::io_context context_{1};
  beast::websocket::stream<tcp::socket> socket_;
  beast::flat_buffer buffer_;
  std::unordered_map<std::uint32_t, std::vector<char>> unfinished_;
  std::unordered_map<std::string, reply_fn> pending_;
  std::deque<std::vector<char>> queue_;
  bool writing_ = false;
  std::uint32_t messages_ = 0;
  std::size_t most_ = 1 << 20;
  unsigned long calls_ = 0;
  std::string id_;
  std::promise<void> ended_;
  std::thread thread_;
};

} // namespace

int main(int argc, char **argv) {
  if (argc < 4)
    die("usage: beast <url> <workload> <parameters...>");
  const std::string workload = argv[2];
  auto number = [&](int i) {
    if (i + 3 >= argc)
      die("a number is missing");
    return std::atol(argv[i + 3]);
  };
  bench::meter times;
  const char *wanted = std::getenv("WSLINK_PROTOCOL");
  const bool json = wanted && std::atoi(wanted) == 1;
  if (workload == "connect") {
    times.begin();
    for (long i = 0; i < number(0); i++) {
      times.start_lap();
      { client c(argv[1]); }
      times.end_lap();
    }
    times.ops = times.check = double(number(0));
  } else if (workload == "decode") {
    const std::string message =
        (json ? bench::message<bench::Json> : bench::message<bench::Msgpack>)(argv[3], std::size_t(number(1)));
    times.repeat(number(2), [&] {
      if (json)
        times.check = see(nlohmann::json::parse(message)["result"]);
      else
        times.check = see(at(msgpack::unpack(message.data(), message.size(), by_reference).get(), "result"));
    });
    times.ops = double(number(1) * number(2));
    times.bytes = double(message.size()) * double(number(2));
  } else {
    client c(argv[1]);
    auto echo = [](long i) {
      return [i](auto &to) { to.pack_map(2), to.pack("i"), to.pack(i), to.pack("s"), to.pack("ping"); };
    };
    if (workload == "latency") {
      auto once = [&](long i) {
        c.wait(c.next_id(), "bench.echo", 1, echo(i),
               [&](const object &reply) { times.check += at(reply, "i").as<long>() == i; });
      };
      for (long i = 0; i < 500; i++)
        once(i);
      times.check = 0;
      times.begin();
      for (long i = 0; i < number(0); i++) {
        times.start_lap();
        once(i);
        times.end_lap();
      }
      times.ops = double(number(0));
    } else if (workload == "latencycb" || workload == "pipeline") {
      const long total = number(0), depth = workload == "pipeline" ? number(1) : 1;
      long sent = 0, done = 0;
      std::promise<void> over;
      std::function<void()> next = [&] {
        const long i = sent++;
        c.send(c.next_id(), "bench.echo", 1, echo(i), [&, i](const object &reply) {
          times.check += at(reply, "i").as<long>() == i;
          if (depth == 1)
            times.end_lap();
          if (sent < total)
            next();
          if (++done == total)
            over.set_value();
        });
      };
      times.begin();
      c.send(c.next_id(), "bench.echo", 1, echo(0), [&](const object &) {
        while (sent < std::min(depth, total))
          next();
      });
      over.get_future().wait();
      times.ops = double(total);
    } else if (workload == "fanin") {
      c.on_publication = [&](const object &result) {
        times.check += at(result, "i").as<double>();
        times.ops++;
      };
      times.begin();
      c.wait(
          c.next_id(), "bench.publish.small", 2, [&](auto &to) { to.pack("bench.small"), to.pack(number(0)); },
          [](const object &) {});
    } else if (workload == "blob") {
      const std::size_t size = std::size_t(number(0));
      c.on_publication = [&](const object &result) {
        const object &blob = at(result, "blob");
        bench::check_blob(reinterpret_cast<const std::uint8_t *>(blob.via.bin.ptr), blob.via.bin.size, size);
        if (at(result, "mtime").as<double>() != times.check++)
          die("order");
        times.end_lap();
      };
      times.begin();
      c.wait(
          c.next_id(), "bench.publish.blob", 3,
          [&](auto &to) { to.pack("bench.blob"), to.pack(number(1)), to.pack(number(0)); }, [](const object &) {});
      times.ops = times.check;
      times.bytes = times.ops * double(size);
    } else if (workload == "structured") {
      auto ask = [&](long count) {
        c.wait(
            c.next_id(), "bench.structured", 2, [&](auto &to) { to.pack(argv[3]), to.pack(count); },
            [&](const object &reply) { times.check = see(reply); });
      };
      ask(10);
      times.begin();
      for (long i = 0; i < number(2); i++) {
        times.start_lap();
        ask(number(1));
        times.end_lap();
      }
      times.ops = double(number(1) * number(2));
    } else if (workload == "upload") {
      const std::vector<std::uint8_t> data = bench::blob(std::size_t(number(0)));
      times.begin();
      for (long i = 0; i < number(1); i++) {
        times.start_lap();
        c.wait(
            c.next_id(), "bench.upload", 1,
            [&](auto &to) {
              to.pack_bin(std::uint32_t(data.size()));
              to.pack_bin_body(reinterpret_cast<const char *>(data.data()), std::uint32_t(data.size()));
            },
            [&](const object &reply) { times.check += reply.as<std::size_t>() == data.size(); });
        times.end_lap();
      }
      times.ops = double(number(1));
      times.bytes = times.ops * double(number(0));
    } else {
      die("no such workload");
    }
    times.end();
  }
  times.report(json ? "nlohmann" : "beast", json ? 1 : 2, argc, argv);
}
