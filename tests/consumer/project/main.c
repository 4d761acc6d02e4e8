/* A user's program in C: the library is found, matches its header, and works as far as possible without a server. */
#include <stdio.h>
#include <wslink.h>

int main(void) {
  wslink_config *config = NULL;
  wslink_session *session = NULL;
  wslink_error *error = NULL;
  int fine = wslink_check_version(WSLINK_VERSION_NUMBER) == WSLINK_OK;

  fine = fine && wslink_config_new("ws://localhost/ws", &config, &error) == WSLINK_OK;
  fine = fine && wslink_session_new(config, &session, &error) == WSLINK_OK;
  fine = fine && wslink_session_state(session) == WSLINK_STATE_IDLE;
  printf("wslink %s in C: %s\n", wslink_version_text(), fine ? "works" : wslink_error_message(error));
  wslink_error_free(error);
  wslink_session_free(session);
  wslink_config_free(config);
  return fine ? 0 : 1;
}
