/*
 * Launchers without a real one: null pointers, invalid options, callbacks and their user data, and cancelling.
 * cpp/test_launcher.cpp has the real ones.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <string.h>

static wslink_config *described(const char *url) {
  wslink_config *config = NULL;
  SUCCEEDS(wslink_config_new_launcher(url, &config, &err));
  MUST(config != NULL);
  return config;
}

static wslink_launcher *launcher_at(const char *url) {
  wslink_config *config = described(url);
  wslink_launcher *launcher = NULL;
  SUCCEEDS(wslink_launcher_new(config, &launcher, &err));
  MUST(launcher != NULL);
  wslink_config_free(config);
  return launcher;
}

static wslink_args *application(void) {
  wslink_args *args = wslink_args_new();
  SUCCEEDS(wslink_args_add_json_keywords(args, str("{\"application\": \"x\"}"), &err));
  return args;
}

static void null_pointers(void) {
  wslink_config *config = NULL;
  wslink_launcher *launcher = NULL;
  wslink_launched *launched = NULL;
  wslink_args *args = application();

  FAILS(WSLINK_ERR_NULL, wslink_config_new_launcher(NULL, &config, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_new_launcher("http://h", NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_launcher_new(NULL, &launcher, &err));
  config = described("http://h");
  FAILS(WSLINK_ERR_NULL, wslink_launcher_new(config, NULL, &err));
  wslink_config_free(config);
  config = NULL;
  FAILS(WSLINK_ERR_NULL, wslink_launcher_set_timeout(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_launcher_set_retry_delays(NULL, NULL, 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_launcher_open(NULL, args, &launched, &err));
  FAILS(WSLINK_ERR_NULL, wslink_launcher_status(NULL, "1", &launched, &err));
  FAILS(WSLINK_ERR_NULL, wslink_launcher_close(NULL, "1", &err));
  wslink_launcher_cancel(NULL);
  wslink_launcher_free(NULL);
  launcher = launcher_at("http://h");
  FAILS(WSLINK_ERR_NULL, wslink_launcher_set_retry_delays(launcher, NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_launcher_open(launcher, NULL, &launched, &err));
  FAILS(WSLINK_ERR_NULL, wslink_launcher_open(launcher, args, NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_launcher_status(launcher, NULL, &launched, &err));
  FAILS(WSLINK_ERR_NULL, wslink_launcher_close(launcher, NULL, &err));
  CHECK(launched == NULL);
  wslink_launcher_free(launcher);
  wslink_args_free(args);

  CHECK_TEXT(wslink_launched_id(NULL), "");
  CHECK_TEXT(wslink_launched_url(NULL), "");
  CHECK(wslink_launched_document(NULL) == NULL);
  FAILS(WSLINK_ERR_NULL, wslink_config_new_launched(NULL, &config, &err));
  wslink_launched_free(NULL);
}

static void what_cannot_work(void) {
  wslink_config *config = NULL;
  wslink_launcher *launcher = NULL;
  wslink_launched *launched = NULL;
  wslink_session *session = NULL;
  wslink_args *args = wslink_args_new();

  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_new_launcher("ws://h", &config, &err));
  config = described("http://h");
  FAILS(WSLINK_ERR_ARGUMENT, wslink_session_new(config, &session, &err));
  wslink_config_free(config);
  SUCCEEDS(wslink_config_new("ws://h", &config, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_launcher_new(config, &launcher, &err));
  wslink_config_free(config);
  launcher = launcher_at("http://h");
  FAILS(WSLINK_ERR_ARGUMENT, wslink_launcher_set_timeout(launcher, 0, &err));
  SUCCEEDS(wslink_launcher_set_timeout(launcher, UINT32_MAX, &err));
  SUCCEEDS(wslink_args_add_int(args, 1, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_launcher_open(launcher, args, &launched, &err));
  wslink_launcher_free(launcher);
  wslink_args_free(args);
}

struct report {
  wslink_launcher *launcher;
  uint32_t attempts;
  int drops;
};

static void note_attempt(void *user, uint32_t attempt, const wslink_error *reason) {
  struct report *report = user;
  CHECK((attempt == 1) == (reason == NULL));
  CHECK(attempt == 1 || wslink_error_code(reason) == WSLINK_ERR_CONNECT);
  report->attempts = attempt;
  if (attempt == 3) {
    wslink_launcher_cancel(report->launcher);
  }
}

static void count_drop(void *user) { ((struct report *)user)->drops++; }

static void attempts_are_reported_and_cancelled(void) {
  /* The discard port: nobody listens there. */
  wslink_launcher *launcher = launcher_at("http://127.0.0.1:9/paraview/");
  struct report report = {NULL, 0, 0};
  const uint32_t delays[3] = {1, 600000, 600000};
  wslink_launched *launched = NULL;
  wslink_args *args = application();

  report.launcher = launcher;
  FAILS(WSLINK_ERR_NULL, wslink_launcher_on_progress(launcher, NULL, &report, count_drop, &err));
  CHECK_INT(report.drops, 1);
  FAILS(WSLINK_ERR_NULL, wslink_launcher_on_progress(NULL, note_attempt, &report, count_drop, &err));
  CHECK_INT(report.drops, 2);
  SUCCEEDS(wslink_launcher_set_retry_delays(launcher, delays, 3, &err));
  SUCCEEDS(wslink_launcher_on_progress(launcher, note_attempt, &report, count_drop, &err));
  FAILS(WSLINK_ERR_CANCELLED, wslink_launcher_open(launcher, args, &launched, &err));
  CHECK_INT(report.attempts, 3);
  CHECK(launched == NULL);
  CHECK_INT(report.drops, 2);
  wslink_launcher_free(launcher);
  CHECK_INT(report.drops, 3);
  wslink_args_free(args);
}

int main(int argc, char **argv) {
  static const test tests[] = {
      TEST(null_pointers),
      TEST(what_cannot_work),
      TEST(attempts_are_reported_and_cancelled),
  };
  return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
