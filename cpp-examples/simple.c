/*
 * A client of upstream's examples/simple server, in C99: calls all its methods, and receives its image stream.
 *
 *     simple <url> [folder]        for example: simple ws://localhost:8080/ws
 *
 * Works with servers of wslink 1 and 2. Images are saved into the folder, by default the current one.
 */
#include <wslink.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALL_TIMEOUT_MS = 10000, STREAMED_IMAGES = 5 };

static const char *folder = ".";

/* Prints the error and ends the program. */
static void fail(const char *what, wslink_error *error) {
  fprintf(stderr, "simple: %s: %s\n", what, wslink_error_message(error));
  wslink_error_free(error);
  exit(EXIT_FAILURE);
}

static void check(int32_t code, const char *what, wslink_error *error) {
  if (code != WSLINK_OK) {
    fail(what, error);
  }
}

/* Calls a method and waits for the reply, which the caller unrefs. Takes the content of `args`. */
static const wslink_document *call(const wslink_session *session, const char *method, wslink_args *args) {
  wslink_call_options options = WSLINK_CALL_OPTIONS_INIT;
  const wslink_document *reply = NULL;
  wslink_error *error = NULL;

  options.timeout_ms = CALL_TIMEOUT_MS;
  check(wslink_session_call_wait(session, wslink_str_from(method), args, &options, &reply, &error), method, error);
  return reply;
}

/* Calls a method with positional arguments as JSON text, and waits for the reply. */
static const wslink_document *call_json(const wslink_session *session, const char *method, const char *json) {
  wslink_args *args = wslink_args_new();
  const wslink_document *reply;
  wslink_error *error = NULL;

  check(wslink_args_add_json_array(args, wslink_str_from(json), &error), method, error);
  reply = call(session, method, args);
  wslink_args_free(args);
  return reply;
}

/* Prints any value as JSON text. */
static void show(const char *title, wslink_value value) {
  wslink_json *json = NULL;
  wslink_error *error = NULL;
  wslink_str text;

  check(wslink_value_to_json(value, WSLINK_JSON_TAGGED, &json, &error), title, error);
  text = wslink_json_text(json);
  printf("%-28s %.*s\n", title, (int)text.len, text.ptr);
  wslink_json_free(json);
}

static void show_reply(const wslink_session *session, const char *method, const char *json) {
  const wslink_document *reply = call_json(session, method, json);

  show(method, wslink_document_result(reply));
  wslink_document_unref(reply);
}

/* Saves a value that is binary data, without a copy in memory. */
static void save(const char *title, wslink_value value, const char *name) {
  wslink_bytes data;
  char path[4096];
  FILE *file;

  if (!wslink_value_get_bytes(value, &data)) {
    fprintf(stderr, "simple: %s: expected binary data, got %s\n", title, wslink_kind_text(wslink_value_kind(value)));
    exit(EXIT_FAILURE);
  }
  if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) {
    fprintf(stderr, "simple: the name of the folder is too long\n");
    exit(EXIT_FAILURE);
  }
  file = fopen(path, "wb");
  if (!file || fwrite(data.ptr, 1, data.len, file) != data.len || fclose(file) != 0) {
    perror(path);
    exit(EXIT_FAILURE);
  }
  printf("%-28s %lu bytes, saved as %s\n", title, (unsigned long)data.len, path);
}

/* A member of a map; ends the program if there is none. */
static wslink_value member(wslink_value map, const char *key) {
  wslink_value value;

  if (!wslink_value_find(map, wslink_str_from(key), &value)) {
    fprintf(stderr, "simple: the reply has no \"%s\"\n", key);
    exit(EXIT_FAILURE);
  }
  return value;
}

static void images(const wslink_session *session) {
  const wslink_document *reply;
  wslink_value result, list, bytes;
  wslink_iter each;

  reply = call_json(session, "myprotocol.image", "[]");
  save("myprotocol.image", member(wslink_document_result(reply), "blob"), "image.png");
  wslink_document_unref(reply);

  reply = call_json(session, "myprotocol.unwrapped.image", "[true]");
  save("myprotocol.unwrapped.image", wslink_document_result(reply), "unwrapped.png");
  wslink_document_unref(reply);

  reply = call_json(session, "myprotocol.nested.image", "[]");
  result = wslink_document_result(reply);
  save("myprotocol.nested.image", member(member(result, "image"), "blob"), "nested.png");
  list = member(result, "bytesList");
  each = wslink_value_iter(list);
  while (wslink_iter_next(&each, NULL, &bytes)) {
    printf("%-28s   and %lu bytes\n", "", (unsigned long)wslink_value_size(bytes));
  }
  wslink_document_unref(reply);
}

/* Runs inside wslink_session_dispatch. */
static void on_image(void *user, wslink_str topic, const wslink_document *message, const wslink_error *error) {
  int *count = user;
  char title[64], name[32];

  if (error) {
    fprintf(stderr, "simple: a publication failed: %s\n", wslink_error_message(error));
    return;
  }
  if (*count == STREAMED_IMAGES) {
    return;
  }
  ++*count;
  snprintf(title, sizeof title, "topic %.*s", (int)topic.len, topic.ptr);
  snprintf(name, sizeof name, "stream-%d.png", *count);
  save(title, member(wslink_document_result(message), "blob"), name);
}

static void stream(const wslink_session *session) {
  wslink_error *error = NULL;
  uint64_t subscription;
  int count = 0;

  check(
      wslink_session_subscribe(session, wslink_str_from("image"), NULL, on_image, &count, NULL, &subscription, &error),
      "subscribe", error);
  show_reply(session, "myprotocol.stream", "[\"image\"]");
  while (count < STREAMED_IMAGES) {
    int32_t events = wslink_session_dispatch(session, 0, CALL_TIMEOUT_MS, &error);
    if (events < 0) {
      fail("dispatch", error);
    }
    if (events == 0) {
      fprintf(stderr, "simple: no image came\n");
      exit(EXIT_FAILURE);
    }
    if (wslink_session_state(session) != WSLINK_STATE_READY) {
      wslink_session_failure(session, &error);
      fail("connection", error);
    }
  }
  show_reply(session, "myprotocol.stop", "[\"image\"]");
  check(wslink_session_unsubscribe(session, subscription, &error), "unsubscribe", error);
}

static void post_binary(const wslink_session *session) {
  static const unsigned char data[] = {0, 1, 2, 3, 252, 253, 254, 255};
  wslink_args *args = wslink_args_new();
  const wslink_document *reply;
  wslink_error *error = NULL;

  check(wslink_args_add_bytes(args, data, sizeof data, &error), "postbinary", error);
  reply = call(session, "myprotocol.postbinary", args);
  show("myprotocol.postbinary", wslink_document_result(reply));
  wslink_document_unref(reply);
  wslink_args_free(args);
}

/* Calls a method that the server does not have, and prints the error. */
static void mistake(const wslink_session *session) {
  const wslink_document *reply = NULL;
  wslink_error *error = NULL;
  int64_t code = 0;

  if (wslink_session_call_wait(session, wslink_str_from("myprotocol.mistake.TYPO"), NULL, NULL, &reply, &error) !=
      WSLINK_ERR_REMOTE) {
    fprintf(stderr, "simple: myprotocol.mistake.TYPO: the server should not have this\n");
    exit(EXIT_FAILURE);
  }
  wslink_error_remote_code(error, &code);
  printf("%-28s error %ld: %s\n", "myprotocol.mistake.TYPO", (long)code, wslink_error_remote_message(error));
  wslink_error_free(error);
}

int main(int argc, char **argv) {
  wslink_config *config = NULL;
  wslink_session *session = NULL;
  wslink_error *error = NULL;

  if (argc < 2 || argc > 3 || argv[1][0] == '-') {
    fprintf(stderr, "usage: simple <url> [folder for images]\n   for example: simple ws://localhost:8080/ws\n");
    return 2;
  }
  if (argc == 3) {
    folder = argv[2];
  }

  check(wslink_config_new(argv[1], &config, &error), argv[1], error);
  check(wslink_session_new(config, &session, &error), "session", error);
  wslink_config_free(config);
  check(wslink_session_connect_wait(session, &error), argv[1], error);
  printf("connected: the server speaks protocol %ld\n\n", (long)wslink_session_protocol(session));

  show_reply(session, "myprotocol.add", "[[1, 2, 3, 4, 5]]");
  show_reply(session, "myprotocol.mult", "[[1, 2, 3, 4, 5]]");
  images(session);
  stream(session);
  post_binary(session);
  show_reply(session, "myprotocol.special", "[[\"NaN\", NaN, Infinity, -Infinity]]");
  mistake(session);

  check(wslink_session_close_wait(session, CALL_TIMEOUT_MS, &error), "close", error);
  wslink_session_free(session);
  printf("\nclosed\n");
  return EXIT_SUCCESS;
}
