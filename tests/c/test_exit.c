/*
 * The ways to end a program. Each is taken many times, in a separate process that must end with the status that it
 * chose. Without arguments this program starts all of them; with a name it takes that way.
 */
#define _XOPEN_SOURCE 700
#define _DEFAULT_SOURCE /* usleep */
#include "check.h"
#include "thread_named.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIMES = WSLINK_TEST_TIMES, STATUS = 42 };

extern char **environ;

static wslink_session *busy_session(int32_t delivery, probe *p) {
  wslink_session *session = ready_session(2, delivery);
  probe_init(p);
  SUCCEEDS(wslink_session_subscribe(session, str("t"), NULL, on_publication, p, on_drop, NULL, &err));
  begin_call(session, "test.publish", "[\"t\", 5]", p);
  /* A short time, because a server publishes to disconnected clients until their last method has returned. */
  begin_call(session, "test.sleep", "[0.3]", p);
  return session;
}

static int nothing(void) { return STATUS; }

static int exit_while_connected(void) {
  static probe p;
  busy_session(WSLINK_DELIVERY_QUEUED, &p);
  exit(STATUS);
}

static int return_while_callbacks_run(void) {
  static probe p;
  busy_session(WSLINK_DELIVERY_IO_THREAD, &p);
  return STATUS;
}

static void exit_now(probe *p) {
  (void)p;
  exit(STATUS);
}

static int exit_inside_a_callback(void) {
  static probe p;
  wslink_session *session = ready_session(1, WSLINK_DELIVERY_QUEUED);
  probe_init(&p);
  p.act = exit_now;
  begin_call(session, "test.echo", "[]", &p);
  dispatch_until(session, &p, 1);
  return 1;
}

static int exit_inside_a_callback_on_the_io_thread(void) {
  static probe p;
  wslink_session *session = ready_session(1, WSLINK_DELIVERY_IO_THREAD);
  probe_init(&p);
  p.act = exit_now;
  begin_call(session, "test.echo", "[]", &p);
  probe_wait_calls(&p, 1);
  return 1;
}

static int exit_while_connecting(void) {
  SUCCEEDS(wslink_session_connect(session_of(new_config(2)), &err));
  return STATUS;
}

#ifndef __SANITIZE_THREAD__
/* The child has none of the library's threads and must not use the session; the parent is not affected. A program
 * started by the child inherits no descriptor of the session. */
static int fork_while_connected(void) {
  static probe p;
  wslink_session *session = ready_session(2, WSLINK_DELIVERY_QUEUED);
  probe_init(&p);
  CHECK(wslink_session_descriptor(session, NULL) >= 0);
  begin_call(session, "test.echo", "[]", &p);
  for (int replaced = 0; replaced <= 1; replaced++) {
    int status = 0;
    pid_t child;
    fflush(NULL);
    child = fork();
    MUST(child >= 0);
    if (child == 0 && replaced) {
      /* Descriptors 0, 1, 2, and those of ls; the session has five. */
      execl("/bin/sh", "sh", "-c", "test $(ls /proc/self/fd | wc -l) -le 5", (char *)NULL);
      _exit(1);
    }
    if (child == 0) {
      exit(0);
    }
    MUST(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    wslink_document_unref(call_json(session, "test.echo", "[]"));
  }
  dispatch_until(session, &p, 1);
  wslink_session_free(session);
  return probe_drops(&p) == 1 ? STATUS : 1;
}
#endif

/* Like the destructor of a static C++ object, which runs after thread-local storage is gone. */
static wslink_session *to_free;
static probe to_drop;

static void free_at_exit(void) {
  wslink_session_free(to_free);
  if (probe_drops(&to_drop) != 1) {
    _exit(1);
  }
}

static int free_in_an_exit_handler(void) {
  to_free = ready_session(2, WSLINK_DELIVERY_QUEUED);
  probe_init(&to_drop);
  SUCCEEDS(wslink_session_subscribe(to_free, str("t"), NULL, on_publication, &to_drop, on_drop, NULL, &err));
  atexit(free_at_exit);
  return STATUS;
}

/* Like a plugin, which loads and unloads the library while the program runs. This program is linked to the library too,
 * so it loads a copy from another path; see the build. */
#define LOAD(library, name) (*(void **)&name = dlsym(library, "wslink_" #name))

static int load_and_unload(void) {
  for (int i = 0; i < 3; i++) {
    void *library = dlopen(WSLINK_TEST_COPY, RTLD_NOW | RTLD_LOCAL);
    int32_t (*config_new)(const char *, wslink_config **, wslink_error **);
    int32_t (*session_new)(const wslink_config *, wslink_session **, wslink_error **);
    int32_t (*session_connect_wait)(const wslink_session *, wslink_error **);
    void (*session_free)(wslink_session *);
    void (*config_free)(wslink_config *);
    wslink_config *config = NULL;
    wslink_session *session = NULL;
    if (!library) {
      printf("%s\n", dlerror());
      return 1;
    }
    LOAD(library, config_new);
    LOAD(library, session_new);
    LOAD(library, session_connect_wait);
    LOAD(library, session_free);
    LOAD(library, config_free);
    MUST(config_new(server_url(2), &config, NULL) == WSLINK_OK);
    MUST(session_new(config, &session, NULL) == WSLINK_OK);
    MUST(session_connect_wait(session, NULL) == WSLINK_OK);
    config_free(config);
    session_free(session);
    MUST(dlclose(library) == 0);
  }
  return STATUS;
}

static int load_and_call_nothing(void) {
  void *library = dlopen(WSLINK_TEST_COPY, RTLD_NOW | RTLD_LOCAL);
  return library && dlclose(library) == 0 ? STATUS : 1;
}

/* Replaces the resolver of this program and of the library: it hangs until it is released. Servers are named by their
 * addresses, so nothing else needs it. */
static pthread_mutex_t resolver_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resolver_changed = PTHREAD_COND_INITIALIZER;
static enum { NOT_ASKED, ASKED, MAY_GO_ON, WENT_ON } resolver;

static void resolver_wait(int state) {
  while ((int)resolver < state) {
    pthread_cond_wait(&resolver_changed, &resolver_lock);
  }
}

static void resolver_reach(int state) {
  resolver = state;
  pthread_cond_broadcast(&resolver_changed);
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  (void)host, (void)service, (void)hints, (void)found;
  pthread_mutex_lock(&resolver_lock);
  resolver_reach(ASKED);
  resolver_wait(MAY_GO_ON);
  resolver_reach(WENT_ON);
  pthread_mutex_unlock(&resolver_lock);
  return EAI_NONAME;
}

/* Freeing does not wait for the resolver, so its thread may still run the library's code when that is unloaded. */
static int unload_while_resolving(void) {
  void *library = dlopen(WSLINK_TEST_COPY, RTLD_NOW | RTLD_LOCAL);
  int32_t (*config_new)(const char *, wslink_config **, wslink_error **);
  int32_t (*session_new)(const wslink_config *, wslink_session **, wslink_error **);
  int32_t (*session_connect)(const wslink_session *, wslink_error **);
  void (*session_free)(wslink_session *);
  void (*config_free)(wslink_config *);
  wslink_config *config = NULL;
  wslink_session *session = NULL;
  MUST(library);
  LOAD(library, config_new);
  LOAD(library, session_new);
  LOAD(library, session_connect);
  LOAD(library, session_free);
  LOAD(library, config_free);
  MUST(config_new("ws://hangs.test/ws", &config, NULL) == WSLINK_OK);
  MUST(session_new(config, &session, NULL) == WSLINK_OK);
  MUST(session_connect(session, NULL) == WSLINK_OK);
  pthread_mutex_lock(&resolver_lock);
  resolver_wait(ASKED);
  pthread_mutex_unlock(&resolver_lock);
  config_free(config);
  session_free(session);
  MUST(dlclose(library) == 0);
  pthread_mutex_lock(&resolver_lock);
  resolver_reach(MAY_GO_ON);
  resolver_wait(WENT_ON);
  pthread_mutex_unlock(&resolver_lock);
  /* Wait until the thread has left the library and ended. */
  for (int i = 0; i < 10000 && thread_named("wslink-resolve"); i++) {
    usleep(1000);
  }
  return thread_named("wslink-resolve") ? 1 : STATUS;
}

static const struct way {
  const char *name;
  int (*take)(void);
} ways[] = {
    {"nothing", nothing},
    {"exit_while_connected", exit_while_connected},
    {"return_while_callbacks_run", return_while_callbacks_run},
    {"exit_inside_a_callback", exit_inside_a_callback},
    {"exit_inside_a_callback_on_the_io_thread", exit_inside_a_callback_on_the_io_thread},
    {"exit_while_connecting", exit_while_connecting},
    {"free_in_an_exit_handler", free_in_an_exit_handler},
#ifndef __SANITIZE_THREAD__
    /* ThreadSanitizer does not support the child of a program with threads. */
    {"fork_while_connected", fork_while_connected},
#endif
    {"load_and_unload", load_and_unload},
    {"load_and_call_nothing", load_and_call_nothing},
    {"unload_while_resolving", unload_while_resolving},
};

static int take_often(char *self, const struct way *way) {
  int bad = 0;
  printf("test %s\n", way->name);
  fflush(stdout);
  for (int i = 0; i < TIMES; i++) {
    char *arguments[3];
    int status = 0;
    pid_t child;
    arguments[0] = self;
    arguments[1] = (char *)way->name;
    arguments[2] = NULL;
    MUST(posix_spawn(&child, self, NULL, NULL, arguments, environ) == 0);
    MUST(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS) {
      printf("%s: failed: run %d ended with %s %d\n", way->name, i, WIFEXITED(status) ? "status" : "signal",
             WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
      bad++;
    }
  }
  return bad;
}

int main(int argc, char **argv) {
  int bad = 0;
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    if (argc > 1 && strcmp(argv[1], ways[i].name) == 0) {
      return ways[i].take();
    }
    if (argc == 1) {
      bad += take_often(argv[0], &ways[i]);
    }
  }
  printf("%d failed runs\n", bad);
  return argc == 1 && bad == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
