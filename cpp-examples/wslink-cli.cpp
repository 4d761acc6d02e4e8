// A command line client for wslink servers: calls methods, prints publications, and probes servers.
//
//     wslink-cli --help

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <wslink.hpp>

#include "cli/failure.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"

namespace {

using clock = std::chrono::steady_clock;

double milliseconds_since(clock::time_point begun) {
  return std::chrono::duration<double, std::milli>(clock::now() - begun).count();
}

// Rounded to microseconds.
double rounded(double milliseconds) { return std::round(milliseconds * 1000) / 1000; }

// Waits for a reply, and updates the progress bar meanwhile.
wslink::document wait(const wslink::session &session, wslink::request request) {
  auto reply = request.future();
  session.dispatch_until(reply);
  return reply.get();
}

void call(const wslink::session &session, const cli::call_options &options, wslink::args arguments,
          cli::value_writer &writer, cli::progress_bar &bar) {
  wslink::request request = session.request(options.method, std::move(arguments));
  if (options.timeout > 0)
    request.timeout(cli::milliseconds(options.timeout));
  const wslink::document reply = wait(session, std::move(request));
  bar.clear();
  cli::print_line(writer.text(reply.result()));
}

void subscribe(const wslink::session &session, const cli::subscribe_options &options, cli::value_writer &writer,
               cli::progress_bar &bar) {
  unsigned long long seen = 0;
  const auto show = [&](const wslink::publication &said) {
    if (options.count > 0 && seen >= options.count)
      return;
    ++seen;
    bar.clear();
    const std::string topic = "{\"topic\": " + cli::json_string(said.topic());
    if (said) {
      cli::print_line(topic + ", \"value\": " + writer.text(said.result()) + '}');
    } else {
      cli::print_line(topic + ", \"error\": " + cli::json_string(said.failure().message()) + '}');
    }
  };
  const wslink::policy keep = options.latest > 0 ? wslink::keep_latest(options.latest) : wslink::keep_all();
  std::vector<wslink::subscription> subscriptions;
  for (const std::string &topic : options.topics)
    subscriptions.push_back(session.subscribe(topic, show, keep));

  const auto over = [&] {
    return (options.count > 0 && seen >= options.count) || session.state() != wslink::state::ready;
  };
  const bool in_time =
      session.dispatch_until(over, options.seconds > 0 ? cli::milliseconds(options.seconds) : wslink::for_ever);
  std::uint64_t dropped = 0;
  for (const wslink::subscription &one : subscriptions)
    dropped += one.counts().dropped;
  if (dropped > 0)
    std::fprintf(stderr, "wslink-cli: %llu publications dropped\n", static_cast<unsigned long long>(dropped));
  if (wslink::error why = session.failure())
    throw wslink::exception(std::move(why));
  if (!in_time && options.count > 0) {
    const std::string counts = std::to_string(seen) + " of " + std::to_string(options.count);
    throw cli::failure(cli::exit_timeout, counts + " publications came in time");
  }
}

nlohmann::ordered_json facts(const wslink::session &session, const cli::probe_options &options, double connect_ms) {
  std::vector<double> trips;
  for (unsigned i = 0; i < options.count; ++i) {
    const auto begun = clock::now();
    wslink::error err;
    // Every server replies with the error that it has no such method.
    session.request("wslink.cli.probe").timeout(cli::milliseconds(options.timeout)).wait(&err);
    if (err.code() != wslink::code::remote)
      throw wslink::exception(std::move(err));
    trips.push_back(milliseconds_since(begun));
  }
  std::sort(trips.begin(), trips.end());
  nlohmann::ordered_json line{{"server", session.peer_address()},
                              {"protocol", static_cast<int>(session.protocol())},
                              {"client_id", session.client_id()},
                              {"max_msg_size", nullptr},
                              {"connect_ms", rounded(connect_ms)},
                              {"round_trip_ms",
                               {{"min", rounded(trips.front())},
                                {"median", rounded(trips[trips.size() / 2])},
                                {"max", rounded(trips.back())}}}};
  if (session.max_msg_size() > 0)
    line["max_msg_size"] = session.max_msg_size();
  return line;
}

std::atomic<bool> interrupted{false};

// Prints what is known of the server, and keeps it until Ctrl-C, or until it has gone.
void keep_up(const wslink::session &session, const nlohmann::ordered_json &line) {
  std::signal(SIGINT, [](int) { interrupted = true; });
  std::signal(SIGTERM, [](int) { interrupted = true; });
  cli::print_line(line.dump());
  while (!interrupted && session.state() == wslink::state::ready)
    session.dispatch(std::chrono::milliseconds(100));
  if (wslink::error why = session.failure())
    throw wslink::exception(std::move(why));
}

// Opens a session, and prints where it is.
void launch_and_print(const cli::connection_options &connection, const cli::launch_options &options) {
  const wslink::launched session = cli::launch(connection, options);
  const wslink::document answer = session.answer();
  nlohmann::ordered_json line{{"id", session.id()}, {"url", session.url()}, {"secret", nullptr}};
  if (const auto secret = answer.root()["secret"].get_if<std::string>())
    line["secret"] = *secret;
  cli::print_line(line.dump());
}

} // namespace

int main(int argc, char **argv) {
  cli::connection_options connection;
  cli::call_options call_options;
  cli::subscribe_options subscribe_options;
  cli::probe_options probe_options;
  cli::launch_options launch_options;

  CLI::App app("Calls methods of wslink servers (VTK, ParaView, trame), and shows what they publish.", "wslink-cli");
  app.set_version_flag("--version", std::string("wslink ") + wslink_version_text());
  app.footer(std::string(cli::examples_help) + cli::exit_codes_help);
  app.require_subcommand(1);
  app.fallthrough(); // options of the connection are also allowed after the command
  cli::add_connection(app, connection);
  CLI::App *call_command = app.add_subcommand("call", "Call a method and print its result");
  cli::add_call(*call_command, call_options);
  CLI::App *subscribe_command = app.add_subcommand("subscribe", "Print what is published on topics");
  cli::add_subscribe(*subscribe_command, subscribe_options);
  CLI::App *probe_command = app.add_subcommand("probe", "Print protocol, address, chunk size and round trip time");
  probe_command->add_option("-n,--count", probe_options.count, "How many round trips")
      ->check(CLI::Range(1U, 1000000U).description(""))
      ->capture_default_str();
  probe_command->add_option("-t,--timeout", probe_options.timeout, "Seconds to wait for each")
      ->check(cli::positive())
      ->capture_default_str();
  CLI::App *run_command = app.add_subcommand("run", "Start a server, print as probe does, and keep it up until Ctrl-C");
  cli::add_run(*run_command, connection);
  CLI::App *listen_command = app.add_subcommand("listen", "Wait for a server, print as probe does, and keep it");
  listen_command->add_option("port", connection.listen, "The port; any free one if not given")->type_name("PORT");
  CLI::App *launch_command = app.add_subcommand("launch", "Have a launcher start a server, and print where it is");
  cli::add_launch(*launch_command, launch_options);
  for (CLI::App *command :
       {call_command, subscribe_command, probe_command, run_command, listen_command, launch_command}) {
    command->footer("\nOptions of the connection, examples and exit status: wslink-cli --help");
    cli::unmark(*command);
  }
  cli::unmark(app);
  try {
    app.parse(cli::marked(argc, argv));
  } catch (const CLI::ParseError &e) {
    return app.exit(e) == 0 ? cli::exit_ok : cli::exit_usage;
  }

  try {
    if (*launch_command) {
      launch_and_print(connection, launch_options);
      return cli::exit_ok;
    }
    cli::value_writer writer(connection.save);
    cli::progress_bar bar(!connection.quiet);
    if (*listen_command && !connection.listen)
      connection.listen = 0;
    const std::optional<wslink::process> server = cli::make_process(connection);
    wslink::config config = cli::with_options(cli::make_place(connection, server), connection);
    if (bar.is_shown())
      config.on_progress([&](const wslink::progress &now) { bar.show(now); });
    // Before connecting, so that invalid arguments are reported without a server.
    wslink::args arguments = cli::make_arguments(call_options);

    const wslink::session session(config);
    const auto begun = clock::now();
    session.connect();
    const double connect_ms = milliseconds_since(begun);

    if (*call_command)
      call(session, call_options, std::move(arguments), writer, bar);
    if (*subscribe_command)
      subscribe(session, subscribe_options, writer, bar);
    if (*probe_command)
      cli::print_line(facts(session, probe_options, connect_ms).dump());
    if (*run_command || *listen_command) {
      nlohmann::ordered_json line = facts(session, probe_options, connect_ms);
      if (server && !server->url().empty())
        line["url"] = server->url();
      if (server && !server->secret_file().empty())
        line["secret_file"] = server->secret_file();
      keep_up(session, line);
    }

    session.close();
    return cli::exit_ok;
  } catch (const wslink::exception &e) {
    return cli::report(e.why(), connection.trace);
  } catch (const cli::failure &e) {
    std::fprintf(stderr, "wslink-cli: %s\n", e.what());
    return e.status();
  } catch (const std::exception &e) {
    std::fprintf(stderr, "wslink-cli: %s\n", e.what());
    return cli::exit_internal;
  }
}
