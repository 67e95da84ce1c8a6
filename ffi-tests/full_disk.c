/* Preloaded into a program under test: writing to a file fails as on a full disk, where the folder of the file holds a file named `full`. Only below
 * VIGIE_FOLDER, so that nothing else of the program is touched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_full(int fd) {
    const char *folder = getenv("VIGIE_FOLDER");
    char link[64], path[PATH_MAX + 8];
    if (folder == NULL) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length <= 0) return 0;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder)) != 0) return 0;
    char *slash = strrchr(path, '/');
    if (slash == NULL) return 0;
    strcpy(slash + 1, "full");
    return access(path, F_OK) == 0;
}

#define FAILS_WHERE_FULL(type, name, parameters, arguments)          \
    type name parameters {                                           \
        static type(*real) parameters;                               \
        int before = errno;                                          \
        if (real == NULL) real = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
        if (is_full(fd)) {                                           \
            errno = ENOSPC;                                          \
            return -1;                                               \
        }                                                            \
        errno = before;                                              \
        return real arguments;                                       \
    }

FAILS_WHERE_FULL(ssize_t, write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
FAILS_WHERE_FULL(ssize_t, pwrite, (int fd, const void *bytes, size_t length, off_t offset), (fd, bytes, length, offset))
FAILS_WHERE_FULL(ssize_t, pwrite64, (int fd, const void *bytes, size_t length, off64_t offset), (fd, bytes, length, offset))
