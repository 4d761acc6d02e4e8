// The command line of wslink-cli, and its conversion to a configuration and to arguments.

#ifndef WSLINK_CLI_OPTIONS_HPP
#define WSLINK_CLI_OPTIONS_HPP

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <wslink.hpp>

#include "failure.hpp"

namespace cli {

struct connection_options {
  std::string url = "ws://localhost:8080/ws";
  std::string start;
  std::vector<std::string> command;
  bool chosen_port = false;
  std::optional<std::string> port_line;
  std::optional<std::uint16_t> listen;
  std::string protocol = "auto";
  std::string secret_file;
  std::vector<std::string> hello;
  std::vector<std::string> headers;
  std::string proxy;
  std::vector<std::string> ca;
  std::vector<std::string> pins;
  bool no_platform_roots = false;
  bool insecure = false;
  std::string certificate;
  std::string key;
  double connect_timeout = 20;
  double heartbeat = 0;
  std::uint64_t max_message = 0;
  std::uint64_t upload_limit = 0;
  std::string log;
  bool quiet = false;
  bool trace = false;
  std::string save;
};

struct call_options {
  std::string method;
  std::vector<std::string> arguments;
  std::string arguments_file;
  std::string kwargs;
  std::vector<std::string> keywords;
  std::vector<std::string> attachments;
  double timeout = 0;
};

struct subscribe_options {
  std::vector<std::string> topics;
  unsigned long long count = 0;
  double seconds = 0;
  unsigned latest = 0;
};

struct launch_options {
  std::string url;
  std::string application;
  std::vector<std::string> members;
  std::vector<double> retries;
  double timeout = 120;
};

struct probe_options {
  unsigned count = 5;
  double timeout = 10;
};

inline const char *const examples_help = R"(
Examples:
  wslink-cli probe --url ws://localhost:1234/ws
  wslink-cli call myprotocol.add '[1, 2, 3]'           one argument, a list
  wslink-cli call test.echo 1 2.5 '"text"' null NaN    five arguments; text needs its JSON quotes
  wslink-cli call scene.open --kwargs '{"name": "a", "size": [640, 480]}'
  wslink-cli call scene.open -k name='"a"' -k size='[640, 480]'
  wslink-cli call test.sum @photo --attach photo=photo.jpg
  wslink-cli call test.echo '{"data": "@photo"}' --attach photo=photo.jpg
  wslink-cli call myprotocol.image --save images       binary data goes to files
  wslink-cli subscribe image --latest 1 --count 10 --save images
  wslink-cli call myprotocol.add '[1, 2, 3]' --start 'python3 app.py'
  wslink-cli run -- python3 app.py                     keeps a server up until Ctrl-C
  wslink-cli run --port-line '' -- python3 app.py --server --port 0 --authKeyFile {secret_file}
  wslink-cli listen 9000                               keeps a server that calls back, and prints its URL
  wslink-cli launch https://host/paraview/ visualizer -k file='"cone.vtk"'
  WSLINK_SECRET=s wslink-cli call test.info --url wss://host/ws --pin AB:CD:...

Results are JSON, one line each, on stdout; everything else is on stderr. What JSON has no word for:
  {"$float": "NaN"}  {"$bytes": {"len": 5, "sha256": "..."}}  {"$map": [[key, value], ...]}
  {"$ext": type, "data": hex}; integers have all their digits, however large.

The secret is read from --secret-file or the variable WSLINK_SECRET, never from the command line, where
other users of the machine could read it; without both it is "wslink-secret", as servers have it.

)";

// Without a description, which CLI11 would print behind the type of each option.
inline CLI::Validator positive() { return CLI::PositiveNumber.description(""); }

// An option that may be given several times, one value each.
inline void add_each(CLI::App &app, const std::string &name, std::vector<std::string> &to, const std::string &help,
                     const char *type) {
  app.add_option(name, to, help)->type_name(type)->allow_extra_args(false);
}

inline void add_connection(CLI::App &app, connection_options &to) {
  app.add_option("-u,--url", to.url, "Where the server is")
      ->envname("WSLINK_URL")
      ->type_name("URL")
      ->capture_default_str();
  auto *start = app.add_option("--start", to.start, "Start this server with --reverse-url, and end it at the end")
                    ->type_name("'COMMAND...'");
  auto *port_line = app.add_option("--port-line", to.port_line,
                                   "The started server prints its port after this text; '': it prints a URL")
                        ->type_name("TEXT");
  app.add_flag("--chosen-port", to.chosen_port, "The started server is given a port, with --port")->excludes(port_line);
  app.add_option("--listen", to.listen, "Wait for a server that is started with --reverse-url; 0: any free port")
      ->type_name("PORT")
      ->excludes(start);
  app.add_option("--protocol", to.protocol, "Which protocol it speaks")
      ->check(CLI::IsMember({"auto", "1", "2"}).description(""))
      ->type_name("auto|1|2")
      ->capture_default_str();
  app.add_option("--secret-file", to.secret_file, "File with the secret in its first line; - is stdin")
      ->type_name("FILE");
  add_each(app, "--hello", to.hello, "Further member of the hello", "NAME=JSON");
  add_each(app, "-H,--header", to.headers, "Header of the HTTP upgrade", "'NAME: VALUE'");
  app.add_option("--proxy", to.proxy, "HTTP proxy")
      ->envname("WSLINK_PROXY")
      ->type_name("http://[USER:PASSWORD@]HOST:PORT");
  add_each(app, "--ca", to.ca, "Trust the certificates of a PEM file", "FILE");
  app.add_flag("--no-platform-roots", to.no_platform_roots, "Do not trust the authorities of the platform");
  add_each(app, "--pin", to.pins, "Accept only the certificate with this SHA-256 fingerprint", "HEX");
  app.add_flag("--insecure", to.insecure, "Accept any certificate: others can listen and change everything");
  auto *certificate = app.add_option("--cert", to.certificate, "Certificate of the client, PEM")->type_name("FILE");
  auto *key = app.add_option("--key", to.key, "Its PKCS #8 key, PEM")->type_name("FILE")->needs(certificate);
  certificate->needs(key);
  app.add_option("--connect-timeout", to.connect_timeout, "Seconds from the host name to the hello")
      ->check(positive())
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_option("--heartbeat", to.heartbeat, "Ping after this many seconds without data")
      ->check(positive())
      ->type_name("SECONDS");
  app.add_option("--max-message", to.max_message, "Largest message that is accepted (1 GiB)")
      ->check(positive())
      ->type_name("BYTES");
  app.add_option("--upload-limit", to.upload_limit, "Largest message that a protocol 1 server takes (4194303)")
      ->check(positive())
      ->type_name("BYTES");
  app.add_option("--save", to.save, "Save binary data of results to this folder")->type_name("DIR");
  app.add_option("--log", to.log, "Log to stderr up to this level")
      ->check(CLI::IsMember({"error", "warning", "info", "debug"}).description(""))
      ->type_name("error|warning|info|debug");
  app.add_flag("-q,--quiet", to.quiet, "No progress bar");
  app.add_flag("--trace", to.trace, "Show the traceback of errors of the server");
}

inline void add_run(CLI::App &app, connection_options &to) {
  app.add_option("command", to.command, "The server and its arguments, after --")->required()->type_name("COMMAND...");
}

inline void add_launch(CLI::App &app, launch_options &to) {
  app.add_option("launcher", to.url, "The launcher, such as https://host/paraview/")->required()->type_name("URL");
  app.add_option("application", to.application, "What to start")->required()->type_name("APPLICATION");
  add_each(app, "-k", to.members, "Further member of the request", "NAME=JSON");
  app.add_option("--retry", to.retries, "Seconds before each further attempt, if all resources are taken")
      ->check(CLI::NonNegativeNumber.description(""))
      ->type_name("SECONDS...");
  app.add_option("-t,--timeout", to.timeout, "Seconds to wait for the launcher's answer")
      ->check(positive())
      ->type_name("SECONDS")
      ->capture_default_str();
}

inline void add_call(CLI::App &app, call_options &to) {
  app.add_option("method", to.method, "The method")->required()->type_name("METHOD");
  app.add_option("arguments", to.arguments, "Its arguments, each as JSON; @NAME is an attachment")
      ->type_name("JSON")
      ->expected(0, 1000000);
  app.add_option("--args", to.arguments_file, "File with a JSON list of further arguments; - is stdin")
      ->type_name("FILE");
  app.add_option("--kwargs", to.kwargs, "Keyword arguments as a JSON object")->type_name("JSON");
  add_each(app, "-k", to.keywords, "One keyword argument", "NAME=JSON");
  add_each(app, "-a,--attach", to.attachments, "Binary data that the arguments name as @NAME", "NAME=FILE");
  app.add_option("-t,--timeout", to.timeout, "Seconds to wait for the reply; unlimited if not given")
      ->check(positive())
      ->type_name("SECONDS");
}

inline void add_subscribe(CLI::App &app, subscribe_options &to) {
  app.add_option("topics", to.topics, "The topics")->required()->type_name("TOPIC")->expected(1, 1000000);
  app.add_option("-n,--count", to.count, "End after N publications")->check(positive())->type_name("N");
  app.add_option("--for", to.seconds, "End after this many seconds")->check(positive())->type_name("SECONDS");
  app.add_option("--latest", to.latest, "Keep only the last N if they arrive faster than they are printed")
      ->check(positive())
      ->type_name("N");
}

// CLI11 splits values such as "[1, 2]", and takes "-Infinity" for an option. To prevent that, such values get a mark as
// their first character, which is removed after parsing.
constexpr char whole_mark = '\x1f';

inline std::vector<std::string> marked(int argc, char **argv) {
  std::vector<std::string> arguments;
  for (int i = argc - 1; i > 0; --i) { // CLI11 reads them from the end
    const std::string text = argv[i];
    const bool whole = text == "-Infinity" || (!text.empty() && text[0] == '[');
    arguments.push_back(whole ? whole_mark + text : text);
  }
  return arguments;
}

inline void unmark(CLI::App &app) {
  for (CLI::Option *option : app.get_options()) {
    if (option->get_items_expected_max() == 0)
      continue; // a flag
    option->transform(CLI::Validator(
        [](std::string &text) {
          if (!text.empty() && text[0] == whole_mark)
            text.erase(0, 1);
          return std::string();
        },
        ""));
  }
}

inline std::chrono::milliseconds milliseconds(double seconds) {
  constexpr double longest = 4e9; // the library takes up to 2^32 ms
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::min(seconds * 1000, longest) + 0.5));
}

// NAME<separator>REST.
inline std::pair<std::string, std::string> split(const std::string &text, char separator, const char *option) {
  const auto at = text.find(separator);
  if (at == std::string::npos || at == 0) {
    throw failure(exit_usage, std::string(option) + " needs NAME" + separator + "..., not " + text);
  }
  return {text.substr(0, at), text.substr(at + 1)};
}

// The content of a file; "-" is stdin.
template <class Container = std::string>
Container read_file(const std::string &path) {
  const auto all_of = [](std::istream &in) {
    return Container(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  };
  if (path == "-")
    return all_of(std::cin);
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw failure(exit_file, "cannot read " + path);
  Container content = all_of(file);
  if (file.bad())
    throw failure(exit_file, "cannot read " + path);
  return content;
}

// The server to start, if there is one.
inline std::optional<wslink::process> make_process(const connection_options &from) {
  std::vector<std::string> command = from.command;
  // The shell splits the command; "$@" is what the library adds.
  if (command.empty() && !from.start.empty())
    command = {"sh", "-c", "exec " + from.start + " \"$@\"", "sh"};
  if (command.empty()) {
    if (from.port_line || from.chosen_port)
      throw failure(exit_usage, "--port-line and --chosen-port are about a server that is started (run, --start)");
    return std::nullopt;
  }
  wslink::process server(command);
  if (from.port_line)
    server.printed_port(*from.port_line);
  if (from.chosen_port)
    server.chosen_port();
  if (!from.quiet)
    server.on_line([](const char *line, bool) { std::fprintf(stderr, "server: %s\n", line); });
  return server;
}

// Where the server is: at a URL, started here, or on its way.
inline wslink::config make_place(const connection_options &from, const std::optional<wslink::process> &server) {
  if (server)
    return server->config();
  if (from.listen) {
    wslink::listener_options options;
    options.port = *from.listen;
    wslink::config config = wslink::listener(options).accept();
    std::fprintf(stderr, "wslink-cli: waiting for a server with --reverse-url %s\n", config.reverse_url().c_str());
    return config;
  }
  return wslink::config(from.url);
}

// Sets the options of a connection.
inline wslink::config with_options(wslink::config config, const connection_options &from) {
  if (from.protocol != "auto")
    config.protocol(from.protocol == "1" ? wslink::protocol::v1 : wslink::protocol::v2);
  if (!from.secret_file.empty()) {
    std::string secret = read_file(from.secret_file);
    config.secret(std::string_view(secret).substr(0, secret.find_first_of("\r\n")));
  } else if (const char *secret = std::getenv("WSLINK_SECRET")) {
    config.secret(secret);
  }
  for (const std::string &member : from.hello) {
    const auto [name, json] = split(member, '=', "--hello");
    config.hello_member(name, json);
  }
  for (const std::string &header : from.headers) {
    const auto [name, value] = split(header, ':', "--header");
    config.header(name, value.substr(std::min(value.find_first_not_of(' '), value.size())));
  }
  if (!from.proxy.empty())
    config.proxy(from.proxy);
  for (const std::string &file : from.ca)
    config.ca_file(file);
  for (const std::string &pin : from.pins)
    config.certificate_pin(pin);
  if (from.no_platform_roots)
    config.platform_roots(false);
  if (from.insecure)
    config.danger_accept_any_certificate(true);
  if (!from.certificate.empty())
    config.client_certificate(from.certificate, from.key);
  config.connect_timeout(milliseconds(from.connect_timeout));
  if (from.heartbeat > 0)
    config.heartbeat(milliseconds(from.heartbeat));
  if (from.max_message > 0)
    config.max_message_size(from.max_message);
  if (from.upload_limit > 0)
    config.v1_upload_limit(from.upload_limit);
  if (!from.log.empty()) {
    const std::map<std::string, wslink::log_level> levels{{"error", wslink::log_level::error},
                                                          {"warning", wslink::log_level::warning},
                                                          {"info", wslink::log_level::info},
                                                          {"debug", wslink::log_level::debug}};
    config.log(levels.at(from.log), [](wslink::log_level, const char *line) { std::fprintf(stderr, "%s\n", line); });
  }
  return config;
}

inline wslink::launched launch(const connection_options &from, const launch_options &launch) {
  wslink::launcher launcher(with_options(wslink::launcher::options(launch.url), from));
  std::vector<std::chrono::milliseconds> delays;
  for (double seconds : launch.retries)
    delays.push_back(milliseconds(seconds));
  launcher.timeout(milliseconds(launch.timeout)).retry_delays(delays);
  if (!from.quiet) {
    launcher.on_progress([](std::uint32_t attempt, const wslink::error &reason) {
      if (reason)
        std::fprintf(stderr, "wslink-cli: waiting for a session, attempt %u (%s)\n", attempt, reason.message());
    });
  }
  wslink::args members;
  members.keyword("application").add(launch.application);
  for (const std::string &member : launch.members) {
    const auto [name, json] = split(member, '=', "-k");
    members.keyword(name).add(wslink::json(json));
  }
  return launcher.open(std::move(members));
}

// Replaces the strings "@NAME" of attachments in JSON text by their keys. Other text is unchanged, so that
// numbers keep all their digits; the library accepts NaN.
inline std::string with_keys(const std::string &text, const std::map<std::string, std::string> &keys) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at + 1;
    if (text[at] == '"') {
      while (end < text.size() && text[end] != '"')
        end += text[end] == '\\' ? 2 : 1;
      end = std::min(end + 1, text.size());
      const auto found =
          end - at > 3 && text[at + 1] == '@' ? keys.find(text.substr(at + 2, end - at - 3)) : keys.end();
      if (found != keys.end()) {
        out += '"' + found->second + '"';
        at = end;
        continue;
      }
    }
    out.append(text, at, end - at);
    at = end;
  }
  return out;
}

// One argument: JSON, or @NAME without quotes.
inline std::string argument(const std::string &text, const std::map<std::string, std::string> &keys) {
  if (!text.empty() && text[0] == '@') {
    const auto found = keys.find(text.substr(1));
    if (found == keys.end())
      throw failure(exit_usage, "nothing was attached as " + text.substr(1) + " (see --attach)");
    return '"' + found->second + '"';
  }
  return with_keys(text, keys);
}

// Adds JSON text. If it is invalid, the error suggests how to quote it.
template <class Add>
void add_json(wslink::args &to, const std::string &text, Add add) {
  add();
  if (!to.failure())
    return;
  std::string message = to.failure().message();
  message += "; it was given: " + text.substr(0, 100);
  if (to.failure().code() == wslink::code::json &&
      nlohmann::json::accept(nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))) {
    message += "\n  if that is meant as text, give it JSON quotes: '" +
               nlohmann::json(text.substr(0, 100)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "'";
  }
  throw failure(exit_code_of(to.failure().code()), message);
}

inline wslink::args make_arguments(const call_options &from) {
  wslink::args args;
  std::map<std::string, std::string> keys;
  for (const std::string &attachment : from.attachments) {
    const auto [name, path] = split(attachment, '=', "--attach");
    keys[name] = args.attach(wslink::by_reference(read_file<std::vector<std::uint8_t>>(path)));
  }
  for (const std::string &text : from.arguments) {
    const std::string json = argument(text, keys);
    add_json(args, text, [&] { args.add(wslink::json(json)); });
  }
  if (!from.arguments_file.empty()) {
    const std::string json = with_keys(read_file(from.arguments_file), keys);
    add_json(args, json, [&] { args.add_json_array(json); });
  }
  if (!from.kwargs.empty()) {
    const std::string json = with_keys(from.kwargs, keys);
    add_json(args, from.kwargs, [&] { args.add_json_keywords(json); });
  }
  for (const std::string &keyword : from.keywords) {
    const auto [name, text] = split(keyword, '=', "-k");
    const std::string json = argument(text, keys);
    add_json(args, text, [&, &n = name] { args.keyword(n).add(wslink::json(json)); });
  }
  return args;
}

} // namespace cli

#endif // WSLINK_CLI_OPTIONS_HPP
