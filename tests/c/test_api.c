/*
 * The C API without a server: every function with null pointers and invalid arguments returns the documented code,
 * leaves its out-parameters unchanged, and drops user data exactly once.
 *
 * The test `api_is_complete` of ctest checks that this program, test_listener.c and test_servers.c call every
 * function of the library.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const wslink_value nothing = {NULL, 0};

/* A port of the loopback where nobody listens while the returned socket is open. */
static int refusing_port(char *url, size_t size) {
  struct sockaddr_in address;
  socklen_t len = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  MUST(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
  MUST(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
  snprintf(url, size, "ws://127.0.0.1:%d/ws", ntohs(address.sin_port));
  return fd;
}

static wslink_session *idle_session(void) {
  wslink_config *config = NULL;
  SUCCEEDS(wslink_config_new("ws://127.0.0.1:9/ws", &config, &err));
  return session_of(config);
}

static void versions(void) {
  char text[32];
  snprintf(text, sizeof text, "%d.%d.%d", WSLINK_VERSION_MAJOR, WSLINK_VERSION_MINOR, WSLINK_VERSION_PATCH);
  CHECK_TEXT(wslink_version_text(), text);
  CHECK_TEXT(wslink_version_text(), WSLINK_TEST_VERSION); /* the version of the CMake project */
  CHECK_INT(wslink_version(), WSLINK_VERSION_NUMBER);
  CHECK_INT(wslink_check_version(WSLINK_VERSION_NUMBER), WSLINK_OK);
  CHECK_INT(wslink_check_version(WSLINK_VERSION_NUMBER + 1), WSLINK_ERR_VERSION);
  CHECK_INT(wslink_check_version(WSLINK_VERSION_NUMBER + 1000000), WSLINK_ERR_VERSION);
  CHECK_INT(wslink_check_version(0), WSLINK_ERR_VERSION);
  CHECK_INT(wslink_check_version(UINT32_MAX), WSLINK_ERR_VERSION);
  CHECK(wslink_has("v1") && wslink_has("v2") && wslink_has("tls") && wslink_has("proxy"));
  CHECK(wslink_has("client-certificate") && wslink_has("descriptor"));
  CHECK(wslink_has("listener") && wslink_has("process"));
  CHECK(!wslink_has("") && !wslink_has(NULL) && !wslink_has("nonsense") && !wslink_has("\xff"));
}

static void texts(void) {
  static const int32_t codes[] = {-100, -101, -102, -103, -104, -105, -106, -107, -108, -109,
                                  -110, -111, -112, -113, -200, -201, -202, -203, -204, -205,
                                  -206, -207, -208, -300, -301, -302, -303, -304, -400};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    CHECK(strcmp(wslink_code_text(codes[i]), "unknown code") != 0);
  }
  CHECK_TEXT(wslink_code_text(WSLINK_OK), "ok");
  CHECK_TEXT(wslink_code_text(WSLINK_ERR_CONNECTION_LOST), "connection lost");
  CHECK_TEXT(wslink_code_text(-99), "unknown code");
  CHECK_TEXT(wslink_code_text(INT32_MIN), "unknown code");
  for (int32_t stage = WSLINK_STAGE_LOCAL; stage <= WSLINK_STAGE_LAUNCHER; stage++) {
    CHECK(strcmp(wslink_stage_text(stage), "unknown stage") != 0);
  }
  CHECK_TEXT(wslink_stage_text(-1), "unknown stage");
  CHECK_TEXT(wslink_stage_text(99), "unknown stage");
  CHECK_TEXT(wslink_state_text(WSLINK_STATE_READY), "ready");
  CHECK_TEXT(wslink_state_text(-1), "unknown state");
  CHECK_TEXT(wslink_kind_text(WSLINK_KIND_BIGINT), "bigint");
  CHECK_TEXT(wslink_kind_text(-1), "unknown kind");
  CHECK_TEXT(wslink_kind_text(WSLINK_KIND_BIGINT + 1), "unknown kind");
  /* The same pointer each time, because it is never freed. */
  CHECK(wslink_code_text(WSLINK_ERR_NULL) == wslink_code_text(WSLINK_ERR_NULL));
}

static void null_objects(void) {
  int64_t code = 7;
  wslink_value value = {NULL, 7};
  wslink_str key = {NULL, 7};
  wslink_bytes data = {NULL, 7};
  wslink_json *json = (wslink_json *)&code;

  CHECK_INT(wslink_error_code(NULL), WSLINK_OK);
  CHECK_INT(wslink_error_stage(NULL), WSLINK_STAGE_LOCAL);
  CHECK_TEXT(wslink_error_message(NULL), "");
  CHECK_INT(wslink_error_http_status(NULL), 0);
  CHECK(!wslink_error_is_retriable(NULL));
  CHECK(!wslink_error_remote_code(NULL, &code) && code == 7);
  CHECK_TEXT(wslink_error_remote_message(NULL), "");
  CHECK(!wslink_error_remote_data(NULL, &value) && value.place == 7);
  CHECK(!wslink_error_remote_value(NULL, &value) && value.place == 7);
  CHECK(wslink_error_clone(NULL) == NULL);
  wslink_error_free(NULL);

  CHECK(wslink_buffer_ref(NULL) == NULL);
  wslink_buffer_unref(NULL);
  CHECK(wslink_buffer_data(NULL) == NULL);
  CHECK_INT(wslink_buffer_size(NULL), 0);

  CHECK(wslink_document_ref(NULL) == NULL);
  wslink_document_unref(NULL);
  CHECK_INT(wslink_value_kind(wslink_document_result(NULL)), WSLINK_ERR_NULL);
  CHECK_INT(wslink_value_kind(wslink_document_root(NULL)), WSLINK_ERR_NULL);
  CHECK_INT(wslink_document_wire_size(NULL), 0);
  FAILS(WSLINK_ERR_NULL, wslink_document_decode(NULL, 0, WSLINK_ENCODING_JSON, NULL, &err));

  FAILS(WSLINK_ERR_NULL, wslink_value_to_json(nothing, WSLINK_JSON_PLAIN, &json, &err));
  CHECK(json == (wslink_json *)&code);
  FAILS(WSLINK_ERR_NULL, wslink_value_to_json(nothing, WSLINK_JSON_PLAIN, NULL, &err));
  CHECK_INT(wslink_json_text(NULL).len, 0);
  CHECK_INT(wslink_json_attachment_count(NULL), 0);
  CHECK(!wslink_json_attachment(NULL, 0, &key, &data) && key.len == 7 && data.len == 7);
  CHECK(wslink_json_attachment_buffer(NULL, 0) == NULL);
  wslink_json_free(NULL);

  CHECK_INT(wslink_session_state(NULL), WSLINK_STATE_CLOSED);
  CHECK_INT(wslink_session_protocol(NULL), 0);
  CHECK_INT(wslink_session_max_msg_size(NULL), 0);
  CHECK_INT(wslink_session_client_id(NULL, NULL, 0), 0);
  CHECK_INT(wslink_session_peer_address(NULL, NULL, 0), 0);
  CHECK(!wslink_session_cancel(NULL, 1));
  wslink_session_free(NULL);
  wslink_config_free(NULL);
  wslink_args_free(NULL);
  wslink_args_clear(NULL);
}

static void views_of_nothing(void) {
  bool b = true;
  int64_t i = 7;
  uint64_t u = 7;
  double d = 7;
  float f = 7;
  int32_t i32 = 7;
  uint8_t u8 = 7;
  int8_t ext = 7;
  size_t count = 7;
  wslink_str text = {NULL, 7};
  wslink_bytes bytes = {NULL, 7};
  const wslink_buffer *buffer = (const wslink_buffer *)&b;
  wslink_value value = {NULL, 7};
  wslink_iter iter = wslink_value_iter(nothing);

  CHECK_INT(wslink_value_kind(nothing), WSLINK_ERR_NULL);
  CHECK(!wslink_value_is_null(nothing));
  CHECK(!wslink_value_get_bool(nothing, &b) && b);
  CHECK(!wslink_value_get_int(nothing, &i) && i == 7);
  CHECK(!wslink_value_get_uint(nothing, &u) && u == 7);
  CHECK(!wslink_value_get_double(nothing, &d) && d == 7);
  CHECK(!wslink_value_get_string(nothing, &text) && text.len == 7);
  CHECK(!wslink_value_get_bytes(nothing, &bytes) && bytes.len == 7);
  CHECK(!wslink_value_get_buffer(nothing, &buffer) && buffer == (const wslink_buffer *)&b);
  CHECK(!wslink_value_get_buffer(nothing, NULL));
  CHECK(!wslink_value_get_ext(nothing, &ext, &bytes) && ext == 7);
  CHECK(!wslink_value_get_bigint(nothing, &text) && text.len == 7);
  CHECK_INT(wslink_value_size(nothing), 0);
  CHECK(!wslink_value_at(nothing, 0, &value) && value.place == 7);
  CHECK(!wslink_value_find(nothing, str("k"), &value) && value.place == 7);
  CHECK(!wslink_iter_next(&iter, &value, &value) && value.place == 7);
  CHECK(!wslink_iter_next(NULL, &value, &value));
  CHECK_INT(wslink_iter_next_strings(&iter, &text, 1), 0);
  CHECK_INT(wslink_iter_next_strings(NULL, &text, 1), 0);
  CHECK(text.len == 7);
  CHECK(!wslink_value_copy_doubles(nothing, &d, 1, &count) && count == 7);
  CHECK(!wslink_value_copy_floats(nothing, &f, 1, &count) && count == 7);
  CHECK(!wslink_value_copy_int64s(nothing, &i, 1, &count) && count == 7);
  CHECK(!wslink_value_copy_uint64s(nothing, &u, 1, &count) && count == 7);
  CHECK(!wslink_value_copy_int32s(nothing, &i32, 1, &count) && count == 7);
  CHECK(!wslink_value_copy_uint8s(nothing, &u8, 1, &count) && count == 7);
  CHECK(!wslink_value_copy_doubles(nothing, NULL, 1, NULL));
}

static void args_without_handle(void) {
  char key[WSLINK_ATTACHMENT_KEY_SIZE] = "untouched";
  probe released, attached;
  probe_init(&released);
  probe_init(&attached);
  FAILS(WSLINK_ERR_NULL, wslink_args_add_null(NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_bool(NULL, true, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_int(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_uint(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_double(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_string(NULL, str(""), &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_bytes(NULL, "", 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_buffer(NULL, "a", 1, on_drop, &released, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_ext(NULL, 1, "", 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_doubles(NULL, NULL, 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_floats(NULL, NULL, 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_int64s(NULL, NULL, 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_uint64s(NULL, NULL, 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_int32s(NULL, NULL, 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_value(NULL, nothing, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_begin_array(NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_begin_map(NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_key(NULL, str("k"), &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_end(NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_keyword(NULL, str("k"), &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_attach(NULL, "a", 1, on_drop, &attached, key, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_json(NULL, str("1"), &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_json_array(NULL, str("[]"), &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_json_keywords(NULL, str("{}"), &err));
  /* Also without an error object. */
  CHECK_INT(wslink_args_add_null(NULL, NULL), WSLINK_ERR_NULL);
  CHECK_TEXT(key, "untouched");
  probe_end(&released, 1);
  probe_end(&attached, 1);
}

static void bad_args(void) {
  static const wslink_str null_text = {NULL, 3};
  static const wslink_str empty_text = {NULL, 0};
  wslink_args *args = wslink_args_new();
  char key[WSLINK_ATTACHMENT_KEY_SIZE], json[64];
  probe released, attached;

  FAILS(WSLINK_ERR_UTF8, wslink_args_add_string(args, bad_utf8(), &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_string(args, null_text, &err));
  SUCCEEDS(wslink_args_add_string(args, empty_text, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_bytes(args, NULL, 1, &err));
  SUCCEEDS(wslink_args_add_bytes(args, NULL, 0, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_add_bytes(args, "a", SIZE_MAX, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_ext(args, 1, NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_doubles(args, NULL, 1, &err));
  /* A misaligned pointer is an error, unless the count is 0. */
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_add_doubles(args, (const double *)(uintptr_t)3, 1, &err));
  SUCCEEDS(wslink_args_add_doubles(args, (const double *)(uintptr_t)3, 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_floats(args, NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_int64s(args, NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_uint64s(args, NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_int32s(args, NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_args_add_value(args, nothing, &err));

  probe_init(&released);
  FAILS(WSLINK_ERR_NULL, wslink_args_add_buffer(args, NULL, 1, on_drop, &released, &err));
  probe_end(&released, 1);
  probe_init(&attached);
  FAILS(WSLINK_ERR_NULL, wslink_args_attach(args, "a", 1, on_drop, &attached, NULL, &err));
  probe_end(&attached, 1);
  probe_init(&attached);
  FAILS(WSLINK_ERR_NULL, wslink_args_attach(args, NULL, 1, on_drop, &attached, key, &err));
  probe_end(&attached, 1);

  /* The order is wrong. */
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_end(args, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_key(args, str("k"), &err));
  SUCCEEDS(wslink_args_begin_map(args, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_add_int(args, 1, &err));
  SUCCEEDS(wslink_args_key(args, str("k"), &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_key(args, str("k"), &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_end(args, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_keyword(args, str("k"), &err));
  FAILS(WSLINK_ERR_UTF8, wslink_args_key(args, bad_utf8(), &err));
  SUCCEEDS(wslink_args_add_int(args, 1, &err));
  SUCCEEDS(wslink_args_end(args, &err));
  FAILS(WSLINK_ERR_UTF8, wslink_args_keyword(args, bad_utf8(), &err));

  /* JSON text. */
  FAILS(WSLINK_ERR_JSON, wslink_args_add_json(args, str("{"), &err));
  FAILS(WSLINK_ERR_JSON, wslink_args_add_json(args, str(""), &err));
  FAILS(WSLINK_ERR_JSON, wslink_args_add_json(args, str("1 2"), &err));
  FAILS(WSLINK_ERR_UTF8, wslink_args_add_json(args, bad_utf8(), &err));
  FAILS(WSLINK_ERR_JSON, wslink_args_add_json_array(args, str("{}"), &err));
  FAILS(WSLINK_ERR_UTF8, wslink_args_add_json_array(args, bad_utf8(), &err));
  FAILS(WSLINK_ERR_JSON, wslink_args_add_json_keywords(args, str("[]"), &err));
  FAILS(WSLINK_ERR_UTF8, wslink_args_add_json_keywords(args, bad_utf8(), &err));

  /* These keys have no attachments. */
  FAILS(WSLINK_ERR_ATTACHMENT, wslink_args_add_json(args, str("\"wslink_bin0\""), &err));
  probe_init(&attached);
  SUCCEEDS(wslink_args_attach(args, "a", 1, on_drop, &attached, key, &err));
  snprintf(json, sizeof json, "[\"%s\"]", key);
  SUCCEEDS(wslink_args_add_json(args, str(json), &err));
  FAILS(WSLINK_ERR_ATTACHMENT, wslink_args_add_json_array(args, str("[\"wslink_bin77\"]"), &err));
  FAILS(WSLINK_ERR_ATTACHMENT, wslink_args_add_json_keywords(args, str("{\"k\": \"wslink_bin77\"}"), &err));
  wslink_args_clear(args);
  probe_end(&attached, 1);

  probe_init(&released);
  SUCCEEDS(wslink_args_add_buffer(args, "a", 1, on_drop, &released, &err));
  CHECK_INT(probe_drops(&released), 0);
  wslink_args_free(args);
  probe_end(&released, 1);
}

static bool on_attempt(void *user, wslink_attempt *attempt, uint32_t number, const wslink_error *reason) {
  (void)attempt;
  (void)number;
  (void)reason;
  probe *p = user;
  return p != NULL;
}

static void config_without_handle(void) {
  wslink_config *config = (wslink_config *)&config;
  probe p;
  FAILS(WSLINK_ERR_NULL, wslink_config_new(NULL, &config, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_new("ws://localhost/ws", NULL, &err));
  CHECK(config == (wslink_config *)&config);
  FAILS(WSLINK_ERR_NULL, wslink_config_set_secret(NULL, "s", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_hello_member(NULL, "a", "1", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_protocol(NULL, 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_header(NULL, "a", "b", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_connect_timeout(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_heartbeat(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_max_message_size(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_max_unfinished(NULL, 1, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_attachment_store(NULL, 1, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_queue_bytes(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_send_queue_bytes(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_buffer_pool_bytes(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_v1_upload_limit(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_nodelay(NULL, true, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_proxy(NULL, NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_ca_file(NULL, "f", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_ca_pem(NULL, "f", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_platform_roots(NULL, true, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_certificate_pin(NULL, "f", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_danger_accept_any_certificate(NULL, true, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_client_certificate(NULL, "a", "b", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_delivery(NULL, 0, &err));
  probe_init(&p);
  FAILS(WSLINK_ERR_NULL, wslink_config_set_log(NULL, WSLINK_LOG_INFO, on_log, &p, on_drop, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_on_state(NULL, on_state, &p, on_drop, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_on_progress(NULL, on_progress, &p, on_drop, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_on_wakeup(NULL, on_wakeup, &p, on_drop, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_reconnect(NULL, NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_reconnect_filter(NULL, on_reconnect, &p, on_drop, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_before_attempt(NULL, on_attempt, &p, on_drop, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_call_timeout(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_attempt_set_secret(NULL, "s", &err));
  FAILS(WSLINK_ERR_NULL, wslink_attempt_set_url(NULL, "ws://h/", &err));
  FAILS(WSLINK_ERR_NULL, wslink_attempt_set_header(NULL, "a", "b", &err));
  probe_end(&p, 6);
}

static void bad_config(void) {
  static const char *const urls[] = {"",
                                     "localhost",
                                     "http://localhost/ws",
                                     "ws://",
                                     "ws:///ws",
                                     "ws://host:port/ws",
                                     "ws://host:99999/ws",
                                     "ws://ho st/ws",
                                     "ws://host/ws\r\nX: y"};
  wslink_config *config = NULL;
  for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
    wslink_error *err = NULL;
    if (!CHECK_INT(wslink_config_new(urls[i], &config, &err), WSLINK_ERR_ARGUMENT)) {
      printf("  the URL was: %s\n", urls[i]);
    }
    CHECK(config == NULL && wslink_error_message(err)[0] != '\0');
    wslink_error_free(err);
  }
  FAILS(WSLINK_ERR_UTF8, wslink_config_new("ws://\xff/ws", &config, &err));
  MUST(wslink_config_new("ws://localhost/ws", &config, NULL) == WSLINK_OK);

  FAILS(WSLINK_ERR_NULL, wslink_config_set_secret(config, NULL, &err));
  FAILS(WSLINK_ERR_UTF8, wslink_config_set_secret(config, "\xff", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_hello_member(config, NULL, "1", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_hello_member(config, "a", NULL, &err));
  FAILS(WSLINK_ERR_JSON, wslink_config_add_hello_member(config, "a", "{", &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_add_hello_member(config, "secret", "\"s\"", &err));
  SUCCEEDS(wslink_config_add_hello_member(config, "b", "1", &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_protocol(config, 3, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_protocol(config, -1, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_delivery(config, 2, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_delivery(config, INT32_MIN, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_header(config, NULL, "v", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_header(config, "n", NULL, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_add_header(config, "a b", "v", &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_add_header(config, "n", "v\r\nevil: 1", &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_connect_timeout(config, 0, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_max_message_size(config, 0, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_max_unfinished(config, 0, 1, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_max_unfinished(config, 1, 0, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_proxy(config, "socks5://localhost", &err));
  SUCCEEDS(wslink_config_set_proxy(config, NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_ca_file(config, NULL, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_add_ca_file(config, "/nonexistent/ca.pem", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_ca_pem(config, NULL, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_add_ca_pem(config, "no certificate", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_add_certificate_pin(config, NULL, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_add_certificate_pin(config, "abc", &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_client_certificate(config, NULL, "b", &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_client_certificate(config, "/nonexistent/a", "/nonexistent/b", &err));
  SUCCEEDS(wslink_config_set_heartbeat(config, 0, &err));
  SUCCEEDS(wslink_config_set_attachment_store(config, 0, 0, &err));
  SUCCEEDS(wslink_config_set_queue_bytes(config, 0, &err));
  SUCCEEDS(wslink_config_set_send_queue_bytes(config, 1, &err));
  SUCCEEDS(wslink_config_set_buffer_pool_bytes(config, 0, &err));
  SUCCEEDS(wslink_config_set_v1_upload_limit(config, 1, &err));
  SUCCEEDS(wslink_config_set_nodelay(config, false, &err));
  SUCCEEDS(wslink_config_set_platform_roots(config, false, &err));
  SUCCEEDS(wslink_config_danger_accept_any_certificate(config, false, &err));
  wslink_config_free(config);
}

static void callbacks_of_a_config(void) {
  wslink_config *config = NULL;
  wslink_session *session = NULL;
  probe bad, log, first, second, progress, wakeup;
  probe_init(&bad);
  probe_init(&log);
  probe_init(&first);
  probe_init(&second);
  probe_init(&progress);
  probe_init(&wakeup);
  MUST(wslink_config_new("ws://127.0.0.1:9/ws", &config, NULL) == WSLINK_OK);

  FAILS(WSLINK_ERR_NULL, wslink_config_set_log(config, WSLINK_LOG_INFO, NULL, &bad, on_drop, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_log(config, 0, on_log, &bad, on_drop, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_log(config, 5, on_log, &bad, on_drop, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_on_state(config, NULL, &bad, on_drop, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_on_progress(config, NULL, &bad, on_drop, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_on_wakeup(config, NULL, &bad, on_drop, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_set_reconnect_filter(config, NULL, &bad, on_drop, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_before_attempt(config, NULL, &bad, on_drop, &err));
  probe_end(&bad, 8);

  SUCCEEDS(wslink_config_set_log(config, WSLINK_LOG_DEBUG, on_log, &log, on_drop, &err));
  SUCCEEDS(wslink_config_on_state(config, on_state, &first, on_drop, &err));
  SUCCEEDS(wslink_config_on_progress(config, on_progress, &progress, on_drop, &err));
  SUCCEEDS(wslink_config_on_wakeup(config, on_wakeup, &wakeup, on_drop, &err));
  /* A replaced callback is dropped. */
  SUCCEEDS(wslink_config_on_state(config, on_state, &second, on_drop, &err));
  probe_end(&first, 1);

  /* The configuration and its sessions share the callback; the last of them drops it. */
  SUCCEEDS(wslink_session_new(config, &session, &err));
  wslink_config_free(config);
  CHECK_INT(probe_drops(&second), 0);
  wslink_session_free(session);
  probe_end(&log, 1);
  probe_end(&second, 1);
  probe_end(&progress, 1);
  probe_end(&wakeup, 1);
}

static void copies_of_a_config(void) {
  wslink_config *config = NULL, *copy = NULL;
  wslink_session *session = NULL;
  probe log, filter, shared, own;
  probe_init(&log);
  probe_init(&filter);
  probe_init(&shared);
  probe_init(&own);
  MUST(wslink_config_new("ws://127.0.0.1:9/ws", &config, NULL) == WSLINK_OK);
  FAILS(WSLINK_ERR_NULL, wslink_config_clone(NULL, &copy, &err));
  FAILS(WSLINK_ERR_NULL, wslink_config_clone(config, NULL, &err));
  CHECK(copy == NULL);

  SUCCEEDS(wslink_config_set_log(config, WSLINK_LOG_DEBUG, on_log, &log, on_drop, &err));
  SUCCEEDS(wslink_config_set_reconnect_filter(config, on_reconnect, &filter, on_drop, &err));
  SUCCEEDS(wslink_config_on_state(config, on_state, &shared, on_drop, &err));
  SUCCEEDS(wslink_config_clone(config, &copy, &err));
  MUST(copy != NULL && copy != config);
  /* Replaced in the copy only. */
  SUCCEEDS(wslink_config_on_state(copy, on_state, &own, on_drop, &err));
  CHECK_INT(probe_drops(&shared), 0);
  SUCCEEDS(wslink_session_new(copy, &session, &err));
  wslink_config_free(config);
  /* Dropped with its last owner. */
  probe_end(&shared, 1);
  CHECK_INT(probe_drops(&log), 0);
  wslink_config_free(copy);
  CHECK_INT(probe_drops(&filter), 0);
  CHECK_INT(probe_drops(&own), 0);
  wslink_session_free(session);
  probe_end(&log, 1);
  probe_end(&filter, 1);
  probe_end(&own, 1);
}

static void session_without_handle(void) {
  wslink_session *session = (wslink_session *)&session;
  wslink_config *config = NULL;
  wslink_stats stats = WSLINK_STATS_INIT;
  const wslink_document *reply = NULL;
  uint64_t id = 7, other = 7;
  probe p;

  MUST(wslink_config_new("ws://localhost/ws", &config, NULL) == WSLINK_OK);
  FAILS(WSLINK_ERR_NULL, wslink_session_new(NULL, &session, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_new(config, NULL, &err));
  CHECK(session == (wslink_session *)&session);
  wslink_config_free(config);

  FAILS(WSLINK_ERR_NULL, wslink_session_connect(NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_connect_wait(NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_failure(NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_stats(NULL, &stats, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_close(NULL, 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_close_wait(NULL, 0, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_call_wait(NULL, str("m"), NULL, NULL, &reply, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_unsubscribe(NULL, 1, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_subscription_counts(NULL, 1, &id, &other, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_dispatch(NULL, 0, 0, &err));
  {
    wslink_error *err = NULL;
    CHECK_INT(wslink_session_descriptor(NULL, &err), -1);
    CHECK_INT(wslink_error_code(err), WSLINK_ERR_NULL);
    wslink_error_free(err);
  }
  probe_init(&p);
  FAILS(WSLINK_ERR_NULL, wslink_session_call(NULL, str("m"), NULL, NULL, on_completion, &p, on_drop, &id, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_subscribe(NULL, str("t"), NULL, on_publication, &p, on_drop, &id, &err));
  CHECK(id == 7 && other == 7 && reply == NULL);
  CHECK_INT(p.calls, 0);
  probe_end(&p, 2);
}

static void session_before_it_is_ready(void) {
  wslink_session *session = idle_session();
  wslink_args *args = wslink_args_new();
  wslink_stats stats = WSLINK_STATS_INIT;
  const wslink_document *reply = NULL;
  char text[8] = "unset";
  probe p, buffer;

  CHECK_INT(wslink_session_state(session), WSLINK_STATE_IDLE);
  CHECK_INT(wslink_session_failure(session, NULL), WSLINK_OK);
  CHECK_INT(wslink_session_protocol(session), 0);
  CHECK_INT(wslink_session_max_msg_size(session), 0);
  CHECK_INT(wslink_session_client_id(session, text, sizeof text), 0);
  CHECK_TEXT(text, "");
  CHECK_INT(wslink_session_peer_address(session, NULL, 8), 0);
  CHECK(!wslink_session_cancel(session, 1));

  probe_init(&p);
  probe_init(&buffer);
  SUCCEEDS(wslink_args_add_buffer(args, "a", 1, on_drop, &buffer, &err));
  FAILS(WSLINK_ERR_STATE, wslink_session_call(session, str("m"), args, NULL, on_completion, &p, on_drop, NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_session_call(session, str("m"), args, NULL, NULL, &p, on_drop, NULL, &err));
  FAILS(WSLINK_ERR_UTF8, wslink_session_call(session, bad_utf8(), args, NULL, on_completion, &p, on_drop, NULL, &err));
  CHECK_INT(p.calls, 0);
  probe_end(&p, 3);
  /* A refused call leaves the arguments unchanged. */
  CHECK_INT(probe_drops(&buffer), 0);
  FAILS(WSLINK_ERR_NULL, wslink_session_call_wait(session, str("m"), NULL, NULL, NULL, &err));
  FAILS(WSLINK_ERR_UTF8, wslink_session_call_wait(session, bad_utf8(), NULL, NULL, &reply, &err));
  FAILS(WSLINK_ERR_STATE, wslink_session_call_wait(session, str("m"), args, NULL, &reply, &err));
  CHECK(reply == NULL);
  wslink_args_free(args);
  probe_end(&buffer, 1);

  FAILS(WSLINK_ERR_NULL, wslink_session_stats(session, NULL, &err));
  SUCCEEDS(wslink_session_stats(session, &stats, &err));
  CHECK_INT(stats.calls, 0);
  CHECK_INT(wslink_session_dispatch(session, 0, 0, NULL), 0);
  /* Closing an idle session is no error. */
  SUCCEEDS(wslink_session_close(session, 0, &err));
  SUCCEEDS(wslink_session_close_wait(session, 1000, &err));
  wslink_session_free(session);
}

static void subscriptions_without_a_connection(void) {
  wslink_session *session = idle_session();
  wslink_subscribe_options options = WSLINK_SUBSCRIBE_OPTIONS_INIT;
  uint64_t id = 0, other = 0, delivered = 7, dropped = 7;
  probe p, bad;
  probe_init(&p);
  probe_init(&bad);

  FAILS(WSLINK_ERR_NULL, wslink_session_subscribe(session, str("t"), NULL, NULL, &bad, on_drop, &id, &err));
  FAILS(WSLINK_ERR_UTF8, wslink_session_subscribe(session, bad_utf8(), NULL, on_publication, &bad, on_drop, &id, &err));
  options.policy = 2;
  FAILS(WSLINK_ERR_ARGUMENT,
        wslink_session_subscribe(session, str("t"), &options, on_publication, &bad, on_drop, &id, &err));
  options.policy = -1;
  FAILS(WSLINK_ERR_ARGUMENT,
        wslink_session_subscribe(session, str("t"), &options, on_publication, &bad, on_drop, &id, &err));
  CHECK_INT(id, 0);
  probe_end(&bad, 4);

  SUCCEEDS(wslink_session_subscribe(session, str(""), NULL, on_publication, &p, on_drop, &id, &err));
  SUCCEEDS(wslink_session_subscribe(session, str("a:b"), NULL, on_publication, &p, on_drop, &other, &err));
  SUCCEEDS(wslink_session_subscribe(session, str("c"), NULL, on_publication, &p, on_drop, NULL, &err));
  CHECK(id != other);
  SUCCEEDS(wslink_session_subscription_counts(session, id, &delivered, &dropped, &err));
  CHECK(delivered == 0 && dropped == 0);
  SUCCEEDS(wslink_session_subscription_counts(session, id, NULL, NULL, &err));
  SUCCEEDS(wslink_session_unsubscribe(session, id, &err));
  CHECK_INT(probe_drops(&p), 1);
  FAILS(WSLINK_ERR_NOT_FOUND, wslink_session_unsubscribe(session, id, &err));
  FAILS(WSLINK_ERR_NOT_FOUND, wslink_session_subscription_counts(session, id, &delivered, &dropped, &err));
  FAILS(WSLINK_ERR_NOT_FOUND, wslink_session_unsubscribe(session, 0, &err));
  wslink_session_free(session);
  probe_end(&p, 3);
}

/* Binary data as an array of numbers: in place if it is aligned, copied otherwise, with equal numbers. */
static void bytes_as_arrays(void) {
  static const struct {
    int32_t type;
    size_t size;
  } types[] = {{WSLINK_TYPE_INT8, 1},    {WSLINK_TYPE_UINT8, 1},  {WSLINK_TYPE_INT16, 2}, {WSLINK_TYPE_UINT16, 2},
               {WSLINK_TYPE_INT32, 4},   {WSLINK_TYPE_UINT32, 4}, {WSLINK_TYPE_INT64, 8}, {WSLINK_TYPE_UINT64, 8},
               {WSLINK_TYPE_FLOAT32, 4}, {WSLINK_TYPE_FLOAT64, 8}};
  union {
    double aligned[8];
    unsigned char bytes[64];
  } memory;
  const void *array = NULL;
  const wslink_buffer *copy = NULL;
  size_t count = 0;
  for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
    for (size_t at_byte = 0; at_byte < 8; at_byte++) {
      wslink_bytes data;
      for (size_t i = 0; i < sizeof memory.bytes; i++) {
        memory.bytes[i] = (unsigned char)(i * 7);
      }
      data.ptr = memory.bytes + at_byte;
      data.len = 48;
      SUCCEEDS(wslink_bytes_as_array(data, types[t].type, &array, &count, &copy, &err));
      CHECK_INT(count, 48 / types[t].size);
      CHECK((uintptr_t)array % types[t].size == 0 && memcmp(array, data.ptr, 48) == 0);
      CHECK((copy == NULL) == (at_byte % types[t].size == 0));
      CHECK(copy ? array == wslink_buffer_data(copy) && wslink_buffer_size(copy) == 48 : array == data.ptr);
      wslink_buffer_unref(copy);
      if (types[t].size > 1) {
        data.len = 47;
        FAILS(WSLINK_ERR_KIND, wslink_bytes_as_array(data, types[t].type, &array, &count, &copy, &err));
      }
    }
  }
  {
    wslink_bytes data = {NULL, 0};
    SUCCEEDS(wslink_bytes_as_array(data, WSLINK_TYPE_FLOAT64, &array, &count, &copy, &err));
    CHECK_INT(count, 0);
    wslink_buffer_unref(copy);
    FAILS(WSLINK_ERR_ARGUMENT, wslink_bytes_as_array(data, 0, &array, &count, &copy, &err));
    FAILS(WSLINK_ERR_ARGUMENT, wslink_bytes_as_array(data, 11, &array, &count, &copy, &err));
    FAILS(WSLINK_ERR_NULL, wslink_bytes_as_array(data, 1, NULL, &count, &copy, &err));
    FAILS(WSLINK_ERR_NULL, wslink_bytes_as_array(data, 1, &array, NULL, &copy, &err));
    FAILS(WSLINK_ERR_NULL, wslink_bytes_as_array(data, 1, &array, &count, NULL, &err));
    data.len = 1;
    FAILS(WSLINK_ERR_NULL, wslink_bytes_as_array(data, 1, &array, &count, &copy, &err));
  }
}

/* Arrays at misaligned addresses, as in packed structs and mapped files, are refused for writing and for reading.
 * Single values and option structs may be at any address. */
static void arrays_at_odd_addresses(void) {
  static const uint8_t numbers[] = "[1, 2, 3]";
  union {
    double aligned[8];
    unsigned char bytes[64];
  } memory;
  void *odd = memory.bytes + 1;
  const wslink_document *document = NULL;
  wslink_args *args = wslink_args_new();
  wslink_call_options options = WSLINK_CALL_OPTIONS_INIT;
  wslink_value list;
  wslink_iter iter;
  size_t count = 7;
  double one = 0;
  SUCCEEDS(wslink_document_decode(numbers, sizeof numbers - 1, WSLINK_ENCODING_JSON, &document, &err));
  list = wslink_document_root(document);
  CHECK(!wslink_value_copy_doubles(list, odd, 3, &count));
  CHECK(!wslink_value_copy_floats(list, odd, 3, &count));
  CHECK(!wslink_value_copy_int64s(list, odd, 3, &count));
  CHECK(!wslink_value_copy_uint64s(list, odd, 3, &count));
  CHECK(!wslink_value_copy_int32s(list, odd, 3, &count));
  CHECK_INT(count, 7);
  CHECK(wslink_value_copy_uint8s(list, odd, 3, &count) && memory.bytes[3] == 3);
  CHECK(wslink_value_copy_doubles(list, odd, 0, &count) && count == 3);

  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_add_doubles(args, odd, 3, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_add_floats(args, odd, 3, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_add_int64s(args, odd, 3, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_add_uint64s(args, odd, 3, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_args_add_int32s(args, odd, 3, &err));

  CHECK(wslink_value_get_double(at(list, 1), odd));
  memcpy(&one, odd, sizeof one);
  CHECK(one == 2);
  iter = wslink_value_iter(list);
  memcpy(odd, &iter, sizeof iter);
  CHECK(!wslink_iter_next(odd, NULL, NULL));
  CHECK_INT(wslink_iter_next_strings(odd, NULL, 1), 0);
  options.size = 1;
  memcpy(odd, &options, sizeof options);
  {
    wslink_config *config = NULL;
    wslink_session *session = NULL;
    wslink_stats stats = WSLINK_STATS_INIT;
    unsigned char place[sizeof stats + 8];
    SUCCEEDS(wslink_config_new("ws://localhost/ws", &config, &err));
    SUCCEEDS(wslink_session_new(config, &session, &err));
    FAILS(WSLINK_ERR_ARGUMENT, wslink_session_call_wait(session, str("m"), NULL, odd, &document, &err));
    memcpy(place + 1, &stats, sizeof stats);
    SUCCEEDS(wslink_session_stats(session, (void *)(place + 1), &err));
    wslink_session_free(session);
    wslink_config_free(config);
  }
  wslink_args_free(args);
  wslink_document_unref(document);
}

/* Structs that begin with their size may come from an older or a newer header. */
static void sizes_of_structs(void) {
  wslink_session *session = idle_session();
  struct {
    wslink_call_options options;
    unsigned char later[64];
  } newer_call;
  struct {
    wslink_stats stats;
    uint64_t guard[8];
  } newer_stats;
  wslink_call_options call;
  wslink_stats stats;
  wslink_subscribe_options subscribe = WSLINK_SUBSCRIBE_OPTIONS_INIT;
  uint64_t id = 0;
  probe p, sub;
  probe_init(&p);
  probe_init(&sub);

  memset(&call, 0, sizeof call);
  FAILS(WSLINK_ERR_ARGUMENT,
        wslink_session_call(session, str("m"), NULL, &call, on_completion, &p, on_drop, NULL, &err));
  call.size = 1;
  FAILS(WSLINK_ERR_ARGUMENT,
        wslink_session_call(session, str("m"), NULL, &call, on_completion, &p, on_drop, NULL, &err));
  /* Valid options; these calls fail because of the state. */
  call.size = sizeof call.size;
  FAILS(WSLINK_ERR_STATE, wslink_session_call(session, str("m"), NULL, &call, on_completion, &p, on_drop, NULL, &err));
  memset(&newer_call, 0xff, sizeof newer_call);
  newer_call.options.size = sizeof newer_call;
  FAILS(WSLINK_ERR_STATE,
        wslink_session_call(session, str("m"), NULL, &newer_call.options, on_completion, &p, on_drop, NULL, &err));
  probe_end(&p, 4);

  subscribe.size = 0;
  FAILS(WSLINK_ERR_ARGUMENT,
        wslink_session_subscribe(session, str("t"), &subscribe, on_publication, &sub, on_drop, &id, &err));
  /* The size excludes the policy, which is therefore not read. */
  subscribe.size = sizeof subscribe.size;
  subscribe.policy = 99;
  SUCCEEDS(wslink_session_subscribe(session, str("t"), &subscribe, on_publication, &sub, on_drop, &id, &err));

  memset(&stats, 0xff, sizeof stats);
  stats.size = 0;
  FAILS(WSLINK_ERR_ARGUMENT, wslink_session_stats(session, &stats, &err));
  stats.size = offsetof(wslink_stats, bytes_in);
  SUCCEEDS(wslink_session_stats(session, &stats, &err));
  CHECK(stats.messages_in == 0 && stats.messages_out == 0);
  CHECK(stats.bytes_in == UINT64_MAX && stats.events_waiting == UINT64_MAX);
  memset(&newer_stats, 0xff, sizeof newer_stats);
  newer_stats.stats.size = sizeof newer_stats;
  SUCCEEDS(wslink_session_stats(session, &newer_stats.stats, &err));
  CHECK(newer_stats.stats.events_waiting == 0 && newer_stats.guard[0] == UINT64_MAX);
  wslink_session_free(session);
  probe_end(&sub, 2);
}

static void nobody_listens_and_the_session_tries_again(void) {
  char url[64];
  int port = refusing_port(url, sizeof url);
  wslink_config *config = NULL;
  wslink_session *session;
  wslink_reconnect_options options = WSLINK_RECONNECT_OPTIONS_INIT;
  probe state, filter;
  probe_init(&state);
  probe_init(&filter);

  MUST(wslink_config_new(url, &config, NULL) == WSLINK_OK);
  options.first_delay_ms = 0;
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_reconnect(config, &options, &err));
  options.first_delay_ms = 1;
  options.longest_delay_ms = 0;
  FAILS(WSLINK_ERR_ARGUMENT, wslink_config_set_reconnect(config, &options, &err));
  options.longest_delay_ms = 2;
  options.attempts = 2;
  options.at_first = 1;
  SUCCEEDS(wslink_config_set_reconnect(config, &options, &err));
  SUCCEEDS(wslink_config_set_reconnect_filter(config, on_reconnect, &filter, on_drop, &err));
  SUCCEEDS(wslink_config_on_state(config, on_state, &state, on_drop, &err));
  session = session_of(config);
  FAILS(WSLINK_ERR_CONNECT, wslink_session_connect_wait(session, &err));
  /* Three times connecting, twice reconnecting, closed. */
  dispatch_until(session, &state, 6);
  CHECK_INT(state.last, WSLINK_STATE_CLOSED);
  CHECK_INT(probe_calls(&filter), 3);
  wslink_session_free(session);
  probe_end(&filter, 1);
  probe_end(&state, 1);
  close(port);
}

static void nobody_listens(void) {
  char url[64];
  int port = refusing_port(url, sizeof url);
  wslink_config *config = NULL;
  wslink_session *session;
  wslink_error *copy = NULL;
  probe state, call;
  probe_init(&state);
  probe_init(&call);

  MUST(wslink_config_new(url, &config, NULL) == WSLINK_OK);
  SUCCEEDS(wslink_config_on_state(config, on_state, &state, on_drop, &err));
  session = session_of(config);
  FAILS(WSLINK_ERR_CONNECT, wslink_session_connect_wait(session, &err));
  CHECK_INT(wslink_session_state(session), WSLINK_STATE_CLOSED);
  {
    wslink_error *err = NULL;
    CHECK_INT(wslink_session_failure(session, &err), WSLINK_ERR_CONNECT);
    copy = wslink_error_clone(err);
    wslink_error_free(err);
  }
  CHECK_INT(wslink_error_code(copy), WSLINK_ERR_CONNECT);
  CHECK_INT(wslink_error_stage(copy), WSLINK_STAGE_CONNECT);
  CHECK(wslink_error_is_retriable(copy));
  CHECK(!wslink_error_remote_code(copy, NULL));
  wslink_error_free(copy);

  FAILS(WSLINK_ERR_CLOSED,
        wslink_session_call(session, str("m"), NULL, NULL, on_completion, &call, on_drop, NULL, &err));
  probe_end(&call, 1);
  /* connecting and closed were both reported. */
  dispatch_until(session, &state, 2);
  CHECK_INT(state.last, WSLINK_STATE_CLOSED);
  /* Connect again, and free while connecting. */
  SUCCEEDS(wslink_session_connect(session, &err));
  wslink_session_free(session);
  probe_end(&state, 1);
  close(port);
}

int main(int argc, char **argv) {
  static const test tests[] = {
      TEST(versions),
      TEST(texts),
      TEST(null_objects),
      TEST(views_of_nothing),
      TEST(args_without_handle),
      TEST(bad_args),
      TEST(config_without_handle),
      TEST(bad_config),
      TEST(callbacks_of_a_config),
      TEST(copies_of_a_config),
      TEST(session_without_handle),
      TEST(session_before_it_is_ready),
      TEST(subscriptions_without_a_connection),
      TEST(bytes_as_arrays),
      TEST(arrays_at_odd_addresses),
      TEST(sizes_of_structs),
      TEST(nobody_listens),
      TEST(nobody_listens_and_the_session_tries_again),
  };
  return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
