/* The library changes nothing that belongs to the process, and an idle session causes no wake-ups. */
#define _XOPEN_SOURCE 700
#include "check.h"
#include "thread_named.h"

#include <dirent.h>
#include <fenv.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SIGNALS = 64 };

extern char **environ;

/* The process-wide state that the library might change. */
typedef struct state {
  sigset_t mask;
  struct sigaction actions[SIGNALS + 1];
  char locale[256];
  char directory[4096];
  mode_t umask;
  int rounding;
  char environment[65536];
} state;

static void take(state *s) {
  memset(s, 0, sizeof *s);
  pthread_sigmask(SIG_SETMASK, NULL, &s->mask);
  for (int i = 1; i <= SIGNALS; i++) {
    sigaction(i, NULL, &s->actions[i]);
  }
  snprintf(s->locale, sizeof s->locale, "%s", setlocale(LC_ALL, NULL));
  MUST(getcwd(s->directory, sizeof s->directory) != NULL);
  s->umask = umask(0);
  umask(s->umask);
  s->rounding = fegetround();
  for (char **e = environ; *e; e++) {
    MUST(strlen(s->environment) + strlen(*e) + 2 < sizeof s->environment);
    strcat(strcat(s->environment, *e), "\n");
  }
}

static void check_same(const state *a, const state *b) {
  CHECK(memcmp(&a->mask, &b->mask, sizeof a->mask) == 0);
  for (int i = 1; i <= SIGNALS; i++) {
    CHECK(a->actions[i].sa_handler == b->actions[i].sa_handler && a->actions[i].sa_flags == b->actions[i].sa_flags);
  }
  CHECK_TEXT(a->locale, b->locale);
  CHECK_TEXT(a->directory, b->directory);
  CHECK_INT(a->umask, b->umask);
  CHECK_INT(a->rounding, b->rounding);
  CHECK_TEXT(a->environment, b->environment);
}

/* A session with many kinds of failures: remote errors, a refused secret, a connection that the server ends. */
static void a_full_life(int of, int32_t delivery) {
  wslink_session *session = ready_session(of, delivery);
  const wslink_document *reply = NULL;
  wslink_config *config;
  wslink_document_unref(call_json(session, "test.bytes", "[3000000]"));
  FAILS(WSLINK_ERR_REMOTE, wslink_session_call_wait(session, str("no.such"), NULL, NULL, &reply, &err));
  FAILS(WSLINK_ERR_CONNECTION_LOST, wslink_session_call_wait(session, str("test.cancelled"), NULL, NULL, &reply, &err));
  CHECK_INT(wslink_session_state(session), WSLINK_STATE_CLOSED);
  CHECK_INT(wslink_session_failure(session, NULL), WSLINK_ERR_CONNECTION_LOST);
  wslink_session_free(session);

  config = new_config(of);
  SUCCEEDS(wslink_config_set_secret(config, "wrong", &err));
  session = session_of(config);
  FAILS(WSLINK_ERR_AUTH, wslink_session_connect_wait(session, &err));
  wslink_session_free(session);
}

static void the_process_is_left_alone(void) {
  static state before, after;
  take(&before);
  for (int of = 1; of <= 2; of++) {
    a_full_life(of, WSLINK_DELIVERY_QUEUED);
    a_full_life(of, WSLINK_DELIVERY_IO_THREAD);
  }
  take(&after);
  check_same(&before, &after);
}

static void nothing_is_printed(void) {
  struct stat info;
  FILE *caught = tmpfile();
  int file, out, err_out;
  MUST(caught != NULL);
  file = fileno(caught);
  fflush(NULL);
  out = dup(STDOUT_FILENO);
  err_out = dup(STDERR_FILENO);
  MUST(out >= 0 && err_out >= 0 && dup2(file, STDOUT_FILENO) >= 0 && dup2(file, STDERR_FILENO) >= 0);
  a_full_life(1, WSLINK_DELIVERY_QUEUED);
  a_full_life(2, WSLINK_DELIVERY_QUEUED);
  fflush(NULL);
  MUST(dup2(out, STDOUT_FILENO) >= 0 && dup2(err_out, STDERR_FILENO) >= 0);
  MUST(fstat(file, &info) == 0);
  CHECK_INT(info.st_size, 0);
  close(out);
  close(err_out);
  fclose(caught);
}

static int count_entries(const char *path) {
  DIR *directory = opendir(path);
  int count = 0;
  MUST(directory != NULL);
  while (readdir(directory)) {
    count++;
  }
  closedir(directory);
  return count;
}

/* The number of threads. Linux may list a thread for a moment after it was joined, so this waits for those of the
 * library. */
static int count_threads(void) {
  const struct timespec moment = {0, 1000000};
  for (int i = 0; i < 10000 && thread_named("wslink-io"); i++) {
    nanosleep(&moment, NULL);
  }
  return count_entries("/proc/self/task");
}

static void no_thread_and_no_descriptor_is_left(void) {
  int threads, descriptors;
  a_full_life(2, WSLINK_DELIVERY_QUEUED); /* creates everything that is created once per process */
  threads = count_threads();
  descriptors = count_entries("/proc/self/fd");
  for (int i = 0; i < 5; i++) {
    wslink_session *session = ready_session(1 + i % 2, WSLINK_DELIVERY_QUEUED);
    CHECK(wslink_session_descriptor(session, NULL) >= 0);
    wslink_session_free(session);
    a_full_life(1 + i % 2, WSLINK_DELIVERY_QUEUED);
  }
  CHECK_INT(count_threads(), threads);
  CHECK_INT(count_entries("/proc/self/fd"), descriptors);
}

/* The number of times that the I/O threads slept, which is that of their wake-ups. They are found by name, because
 * sanitizers have threads too. */
static long wakeups(int *threads) {
  DIR *tasks = opendir("/proc/self/task");
  struct dirent *task;
  long sum = 0;
  *threads = 0;
  MUST(tasks != NULL);
  while ((task = readdir(tasks))) {
    char path[300], line[200], name[32] = "";
    FILE *status;
    long switches = -1;
    if (task->d_name[0] == '.') {
      continue;
    }
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
    status = fopen(path, "r");
    MUST(status != NULL && fscanf(status, "Name: %31s", name) == 1);
    if (strcmp(name, "wslink-io") != 0) {
      fclose(status);
      continue;
    }
    while (fgets(line, sizeof line, status)) {
      sscanf(line, "voluntary_ctxt_switches: %ld", &switches);
    }
    fclose(status);
    MUST(switches >= 0);
    sum += switches;
    ++*threads;
  }
  closedir(tasks);
  return sum;
}

static void an_idle_session_does_not_wake_up(void) {
  /* Shorter than the servers' heartbeat of 30 s, which started with the session. */
  const struct timespec idle = {3, 0};
  wslink_session *sessions[2];
  int threads = 0;
  long before;
  for (int i = 0; i < 2; i++) {
    sessions[i] = ready_session(i + 1, WSLINK_DELIVERY_QUEUED);
    wslink_document_unref(call_json(sessions[i], "test.echo", "[]"));
  }
  /* The I/O threads have completed the calls; wait until they sleep. */
  nanosleep(&(struct timespec){0, 200000000}, NULL);
  before = wakeups(&threads);
  CHECK_INT(threads, 2);
  nanosleep(&idle, NULL);
  CHECK_INT(wakeups(&threads), before);
  for (int i = 0; i < 2; i++) {
    wslink_session_free(sessions[i]);
  }
}

static pthread_t handled_on;
static volatile sig_atomic_t handled;

static void on_signal(int number) {
  (void)number;
  handled_on = pthread_self();
  handled = 1;
}

/* The signal masks of the library's threads, as listed by Linux: signal 1 is the lowest bit. */
static unsigned long long blocked_by(const char *directory, char *name) {
  char path[300], line[200];
  unsigned long long mask = 0;
  FILE *status;
  snprintf(path, sizeof path, "/proc/self/task/%s/status", directory);
  status = fopen(path, "r"); /* fails if the thread has just ended */
  name[0] = '\0';
  if (status) {
    MUST(fscanf(status, "Name: %31s", name) == 1);
    while (fgets(line, sizeof line, status)) {
      sscanf(line, "SigBlk: %llx", &mask);
    }
    fclose(status);
  }
  return mask;
}

/* An application chooses the thread that gets a signal by masks, although sessions were created before. */
static void signals_of_the_process_are_the_applications(void) {
  static const int kept[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPROF, SIGKILL, SIGSTOP};
  struct sigaction action, before;
  struct dirent *task;
  sigset_t wanted, mask, now;
  int threads = 0, number = 0;
  DIR *tasks;
  wslink_session *session;
  memset(&mask, 0, sizeof mask);
  memset(&now, 0, sizeof now);
  MUST(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
  session = ready_session(2, WSLINK_DELIVERY_QUEUED);
  wslink_document_unref(call_json(session, "test.echo", "[]"));
  MUST(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0);
  CHECK(memcmp(&mask, &now, sizeof mask) == 0);

  tasks = opendir("/proc/self/task");
  MUST(tasks != NULL);
  while ((task = readdir(tasks))) {
    char name[32];
    unsigned long long blocked = task->d_name[0] == '.' ? 0 : blocked_by(task->d_name, name);
    if (task->d_name[0] == '.' || strncmp(name, "wslink-", 7) != 0) {
      continue;
    }
    threads++;
    for (int i = 1; i < 32; i++) {
      bool open = false;
      for (size_t k = 0; k < sizeof kept / sizeof *kept; k++) {
        open = open || kept[k] == i;
      }
      if (!CHECK((blocked >> (i - 1) & 1) == (open ? 0 : 1))) {
        printf("  signal %d of %s\n", i, name);
      }
    }
  }
  closedir(tasks);
  CHECK_INT(threads, 1);

  /* sigwait works only if all other threads block the signal; otherwise the signal would end the program. */
  MUST(sigemptyset(&wanted) == 0 && sigaddset(&wanted, SIGTERM) == 0 && sigaddset(&wanted, SIGUSR1) == 0);
  MUST(pthread_sigmask(SIG_BLOCK, &wanted, NULL) == 0);
  for (int i = 0; i < 20; i++) {
    MUST(kill(getpid(), SIGTERM) == 0);
    wslink_document_unref(call_json(session, "test.echo", "[]"));
    MUST(sigwait(&wanted, &number) == 0);
    CHECK_INT(number, SIGTERM);
  }
  /* The handler runs on the application thread that unblocks the signal. */
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  MUST(sigaction(SIGUSR1, &action, &before) == 0 && kill(getpid(), SIGUSR1) == 0);
  wslink_document_unref(call_json(session, "test.echo", "[]"));
  CHECK_INT(handled, 0);
  MUST(pthread_sigmask(SIG_SETMASK, &mask, NULL) == 0);
  CHECK_INT(handled, 1);
  CHECK(handled && pthread_equal(handled_on, pthread_self()));
  MUST(sigaction(SIGUSR1, &before, NULL) == 0);
  wslink_session_free(session);
}

/* Functions that may be called while a cancellation request is pending. */
enum { CONNECT_WAIT, CALL_WAIT, CALL, DISPATCH, CLOSE_WAIT, FREE, NEW, CANCELLED_CALLS };
typedef struct cancelled {
  int what;
  wslink_session *session;
  probe probe;
  wslink_config *config;
  wslink_args *args;
  bool returned;
} cancelled;

static void close_files(probe *p) {
  (void)p;
  /* Cancellation points inside a callback. */
  pthread_testcancel();
  close(-1);
}

static void *call_cancelled(void *user) {
  cancelled *c = user;
  const wslink_document *reply = NULL;
  probe *p = &c->probe;
  MUST(pthread_cancel(pthread_self()) == 0);
  switch (c->what) {
  case CONNECT_WAIT:
    SUCCEEDS(wslink_session_connect_wait(c->session, &err));
    break;
  case CALL_WAIT:
    SUCCEEDS(wslink_session_call_wait(c->session, str("test.sleep"), c->args, NULL, &reply, &err));
    wslink_document_unref(reply);
    break;
  case CALL:
    SUCCEEDS(wslink_session_call(c->session, str("test.echo"), NULL, NULL, on_completion, p, on_drop, NULL, &err));
    break;
  case DISPATCH:
    while (probe_calls(p) == 0) {
      CHECK(wslink_session_dispatch(c->session, 0, 5000, NULL) >= 0);
    }
    break;
  case CLOSE_WAIT:
    SUCCEEDS(wslink_session_close_wait(c->session, 5000, &err));
    break;
  case FREE:
    wslink_session_free(c->session);
    c->session = NULL;
    break;
  default:
    SUCCEEDS(wslink_session_new(c->config, &c->session, &err));
  }
  c->returned = true;
  pthread_testcancel();
  CHECK(!"cancelled behind the function");
  return NULL;
}

/* pthread_cancel takes effect after the function has returned: nothing is left half done, and the process goes on. */
static void a_thread_is_cancelled_behind_the_function(void) {
  for (int what = 0; what < CANCELLED_CALLS; what++) {
    cancelled c;
    pthread_t thread;
    void *result = NULL;
    memset(&c, 0, sizeof c);
    c.what = what;
    probe_init(&c.probe);
    c.probe.act = close_files;
    c.config = new_config(2);
    if (what == CONNECT_WAIT) {
      SUCCEEDS(wslink_session_new(c.config, &c.session, &err));
    } else if (what != NEW) {
      c.session = ready_session(2, WSLINK_DELIVERY_QUEUED);
    }
    if (what == CALL_WAIT) {
      c.args = wslink_args_new();
      SUCCEEDS(wslink_args_add_json_array(c.args, str("[0.2]"), &err));
    } else if (what == DISPATCH) {
      begin_call(c.session, "test.echo", "[]", &c.probe);
    }
    MUST(pthread_create(&thread, NULL, call_cancelled, &c) == 0 && pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED);
    if (!CHECK(c.returned)) {
      printf("  function %d\n", what);
    }
    wslink_session_free(c.session);
    wslink_config_free(c.config);
    wslink_args_free(c.args);
    probe_end(&c.probe, what == CALL || what == DISPATCH ? 1 : 0);
  }
}

/* Numbers between two doubles or floats. */
static const char in_between[] = "[0.1,-0.1,0.3,123.456,-9007199254740991.5,1e-7,-1.5e-9,3.3e22,1.7976931348623157e308,"
                                 "4.9e-324,9007199254740993,-9007199254740993,18446744073709551615,2.5]";
enum { IN_BETWEEN = 14 };

/* Decodes the numbers locally (protocol 0) or receives them from a server, and checks the results. */
static void check_numbers(int of, const double *expected, const float *expected_floats) {
  double doubles[IN_BETWEEN], one = 0;
  float floats[IN_BETWEEN];
  size_t count = 0;
  wslink_session *session = NULL;
  const wslink_document *document = NULL;
  wslink_json *json = NULL;
  wslink_value list;
  if (of == 0) {
    SUCCEEDS(wslink_document_decode((const uint8_t *)in_between, sizeof in_between - 1, WSLINK_ENCODING_JSON, &document,
                                    &err));
    list = wslink_document_root(document);
  } else {
    char text[sizeof in_between + 2];
    snprintf(text, sizeof text, "[%s]", in_between);
    session = ready_session(of, WSLINK_DELIVERY_QUEUED);
    document = call_json(session, "test.echo", text);
    list = at(find(wslink_document_result(document), "args"), 0);
  }
  CHECK(wslink_value_copy_doubles(list, doubles, IN_BETWEEN, &count));
  CHECK_INT(count, IN_BETWEEN);
  CHECK(wslink_value_copy_floats(list, floats, IN_BETWEEN, &count));
  for (size_t i = 0; i < IN_BETWEEN; i++) {
    CHECK(wslink_value_get_double(at(list, i), &one));
    if (!CHECK(memcmp(&doubles[i], &expected[i], sizeof one) == 0 && memcmp(&one, &expected[i], sizeof one) == 0 &&
               memcmp(&floats[i], &expected_floats[i], sizeof *floats) == 0)) {
      printf("  number %d, protocol %d\n", (int)i, of);
    }
  }
  SUCCEEDS(wslink_value_to_json(list, WSLINK_JSON_PLAIN, &json, &err));
  CHECK(strncmp(wslink_json_text(json).ptr, "[0.1, -0.1, 0.3, 123.456, -9", 28) == 0);
  wslink_json_free(json);
  wslink_document_unref(document);
  wslink_session_free(session);
}

static void numbers_do_not_depend_on_how_the_thread_rounds(void) {
  static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
  const double doubles[IN_BETWEEN] = {0.1,
                                      -0.1,
                                      0.3,
                                      123.456,
                                      -9007199254740991.5,
                                      1e-7,
                                      -1.5e-9,
                                      3.3e22,
                                      1.7976931348623157e308,
                                      4.9e-324,
                                      9007199254740992.0,
                                      -9007199254740992.0,
                                      18446744073709551616.0,
                                      2.5};
  float floats[IN_BETWEEN];
  for (int i = 0; i < IN_BETWEEN; i++) {
    floats[i] = (float)doubles[i];
  }
  for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
    /* The I/O threads also start in this rounding mode. */
    MUST(fesetround(modes[m]) == 0);
    for (int of = 0; of <= 2; of++) {
      check_numbers(of, doubles, floats);
      CHECK_INT(fegetround(), modes[m]);
    }
  }
  MUST(fesetround(FE_TONEAREST) == 0);
}

int main(int argc, char **argv) {
  static const test tests[] = {
      TEST(the_process_is_left_alone),
      TEST(nothing_is_printed),
      TEST(no_thread_and_no_descriptor_is_left),
      TEST(an_idle_session_does_not_wake_up),
      TEST(signals_of_the_process_are_the_applications),
      TEST(a_thread_is_cancelled_behind_the_function),
      TEST(numbers_do_not_depend_on_how_the_thread_rounds),
  };
  return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
