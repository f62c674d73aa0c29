/* A disk that may forget what was not synced: loaded before the C library (LD_PRELOAD), it writes down every change to a
 * regular file below $UNSYNCED_FOLDER, with what stood there before, and every sync, into $UNSYNCED_LOG. Nothing is held back
 * while the process runs; the test that cut the power takes away afterwards what a disk may have lost (tests::power_loss).
 *
 * A record is a struct head, then `old_len` bytes that stood there, then `new_len` bytes that were written. It is in the log
 * before its change is in the file, and one write(2) each, so that a kill leaves the one without the other only that way
 * round. Not followed: mapped memory (of SQLite only the index of the write-ahead log, which it makes anew), and names:
 * creating, renaming and removing files counts as durable at once. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct head {
    uint64_t kind; /* 1 changed, 2 synced */
    uint64_t inode;
    uint64_t old_size; /* of the file, before */
    uint64_t offset;
    uint64_t old_len;
    uint64_t new_len;
    uint64_t new_size; /* of the file, after */
};

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;

static void *next(const char *name) {
    void *function = dlsym(RTLD_NEXT, name);
    if (function == NULL) abort();
    return function;
}

/* Whether changes of this descriptor are written down; then also the file's inode and size. */
static int followed(int fd, struct stat *st) {
    const char *folder = getenv("UNSYNCED_FOLDER"), *log = getenv("UNSYNCED_LOG");
    char link[64], path[4096];
    if (folder == NULL || log == NULL || fd < 0 || fd == log_fd) return 0;
    if (fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) return 0;
    static const char self[] = "/proc/self/fd/";
    char digits[16], *digit = digits + sizeof digits;
    unsigned rest = (unsigned)fd;
    do *--digit = (char)('0' + rest % 10); while ((rest /= 10) != 0);
    memcpy(link, self, sizeof self - 1);
    size_t count = (size_t)(digits + sizeof digits - digit);
    memcpy(link + sizeof self - 1, digit, count);
    link[sizeof self - 1 + count] = '\0';
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len <= 0) return 0;
    path[len] = '\0';
    if (strncmp(path, folder, strlen(folder)) != 0 || strcmp(path, log) == 0) return 0;
    if (log_fd < 0) log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) abort();
    return 1;
}

static void note(struct head *head, const void *old, const void *new) {
    ssize_t (*real)(int, const struct iovec *, int) = next("writev");
    struct iovec parts[3] = {
        {head, sizeof *head}, {(void *)old, head->old_len}, {(void *)new, head->new_len}};
    if (real(log_fd, parts, 3) != (ssize_t)(sizeof *head + head->old_len + head->new_len)) abort();
}

/* Writes down that `new_len` bytes go to `offset`. */
static void note_write(int fd, const struct stat *st, const void *new, size_t new_len, uint64_t offset) {
    ssize_t (*read_at)(int, void *, size_t, off_t) = next("pread64");
    uint64_t size = (uint64_t)st->st_size, old_len = 0;
    char *old = NULL;
    if (offset < size) {
        old_len = size - offset < new_len ? size - offset : new_len;
        old = malloc(old_len);
        if (old == NULL) abort();
        /* Fails for a file that is open for writing only and overwritten in place: nothing here does that. */
        if (read_at(fd, old, old_len, (off_t)offset) != (ssize_t)old_len) abort();
    }
    uint64_t end = offset + new_len;
    struct head head = {1, st->st_ino, size, offset, old_len, new_len, end > size ? end : size};
    note(&head, old, new);
    free(old);
}

static ssize_t write_at_end_or_place(int fd, const void *bytes, size_t len) {
    ssize_t (*real)(int, const void *, size_t) = next("write");
    struct stat st;
    pthread_mutex_lock(&one_at_a_time);
    if (followed(fd, &st)) {
        int append = fcntl(fd, F_GETFL) & O_APPEND;
        off_t place = append ? st.st_size : lseek(fd, 0, SEEK_CUR);
        note_write(fd, &st, bytes, len, (uint64_t)place);
    }
    ssize_t done = real(fd, bytes, len);
    pthread_mutex_unlock(&one_at_a_time);
    return done;
}

static ssize_t write_at(const char *name, int fd, const void *bytes, size_t len, off_t offset) {
    ssize_t (*real)(int, const void *, size_t, off_t) = next(name);
    struct stat st;
    pthread_mutex_lock(&one_at_a_time);
    if (followed(fd, &st)) note_write(fd, &st, bytes, len, (uint64_t)offset);
    ssize_t done = real(fd, bytes, len, offset);
    pthread_mutex_unlock(&one_at_a_time);
    return done;
}

static int cut_to(const char *name, int fd, off_t size) {
    int (*real)(int, off_t) = next(name);
    ssize_t (*read_at)(int, void *, size_t, off_t) = next("pread64");
    struct stat st;
    pthread_mutex_lock(&one_at_a_time);
    if (followed(fd, &st)) {
        uint64_t old_len = st.st_size > size ? (uint64_t)(st.st_size - size) : 0;
        char *old = malloc(old_len + 1);
        if (old == NULL) abort();
        if (old_len > 0 && read_at(fd, old, old_len, size) != (ssize_t)old_len) abort();
        struct head head = {1, st.st_ino, (uint64_t)st.st_size, (uint64_t)size, old_len, 0, (uint64_t)size};
        note(&head, old, NULL);
        free(old);
    }
    int done = real(fd, size);
    pthread_mutex_unlock(&one_at_a_time);
    return done;
}

/* Nothing is really synced: what counts as durable is what the log says. It saves the time of the disk. */
static int synced(const char *name, int fd) {
    int (*real)(int) = next(name);
    struct stat st;
    pthread_mutex_lock(&one_at_a_time);
    int follow = followed(fd, &st);
    if (follow) {
        struct head head = {2, st.st_ino, 0, 0, 0, 0, 0};
        note(&head, NULL, NULL);
    }
    pthread_mutex_unlock(&one_at_a_time);
    return follow ? 0 : real(fd);
}

ssize_t write(int fd, const void *bytes, size_t len) { return write_at_end_or_place(fd, bytes, len); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t at) { return write_at("pwrite", fd, b, n, at); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t at) { return write_at("pwrite64", fd, b, n, at); }
int ftruncate(int fd, off_t size) { return cut_to("ftruncate", fd, size); }
int ftruncate64(int fd, off64_t size) { return cut_to("ftruncate64", fd, size); }
int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }
