/* What belongs to the process is the application's: the library leaves it as it is, and is quiet when idle. */
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

/* All that can be asked of the process and that the library might be tempted to change. */
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

/* A session with all that may go wrong: remote errors, refused secret, a connection that the server ends. */
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

/* All threads. Linux goes on listing one for a moment after it was joined: those of the library are waited for. */
static int count_threads(void) {
  const struct timespec moment = {0, 1000000};
  for (int i = 0; i < 10000 && thread_named("wslink-io"); i++) {
    nanosleep(&moment, NULL);
  }
  return count_entries("/proc/self/task");
}

static void no_thread_and_no_descriptor_is_left(void) {
  int threads, descriptors;
  a_full_life(2, WSLINK_DELIVERY_QUEUED); /* what is made once for a process is there afterwards */
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

/* How often the I/O threads went to sleep, which is how often they woke up. Found by name: sanitizers have threads of
 * their own. */
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
  /* Shorter than the heartbeat of the servers, 30 s, which began when the session did. */
  const struct timespec idle = {3, 0};
  wslink_session *sessions[2];
  int threads = 0;
  long before;
  for (int i = 0; i < 2; i++) {
    sessions[i] = ready_session(i + 1, WSLINK_DELIVERY_QUEUED);
    wslink_document_unref(call_json(sessions[i], "test.echo", "[]"));
  }
  /* The I/O threads have completed the calls and are on their way to sleep: let them arrive. */
  nanosleep(&(struct timespec){0, 200000000}, NULL);
  before = wakeups(&threads);
  CHECK_INT(threads, 2);
  nanosleep(&idle, NULL);
  CHECK_INT(wakeups(&threads), before);
  for (int i = 0; i < 2; i++) {
    wslink_session_free(sessions[i]);
  }
}

int main(int argc, char **argv) {
  static const test tests[] = {
      TEST(the_process_is_left_alone),
      TEST(nothing_is_printed),
      TEST(no_thread_and_no_descriptor_is_left),
      TEST(an_idle_session_does_not_wake_up),
  };
  return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
