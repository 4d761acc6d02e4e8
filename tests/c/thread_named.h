/* Finds threads of this process by their names in /proc. */
#ifndef WSLINK_TESTS_THREAD_NAMED_H
#define WSLINK_TESTS_THREAD_NAMED_H

#include "check.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Whether a thread of this process has this name. */
static bool thread_named(const char *name) {
  bool found = false;
  struct dirent *entry;
  DIR *tasks = opendir("/proc/self/task");
  MUST(tasks);
  while (!found && (entry = readdir(tasks))) {
    char path[300], line[32] = "";
    FILE *file;
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
    file = fopen(path, "r"); /* fails if the thread has just ended */
    if (file) {
      found = fgets(line, sizeof line, file) && strncmp(line, name, strlen(name)) == 0;
      fclose(file);
    }
  }
  closedir(tasks);
  return found;
}

#endif
