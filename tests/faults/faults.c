/* A medium that fails: stands before libc (LD_PRELOAD) and sees what a process does to the files below one folder.
 *
 * It does three things. It counts each call. It refuses calls as a rule says (ENOSPC, EROFS, EIO, short writes), or does not
 * let them return. And, if told to lose, it remembers what was not synced yet; at a cut it puts the files back to what a medium may hold that lost
 * its power, and ends the process at once.
 *
 *   LECTERN_FAULTS_UNDER    the folder; it must exist
 *   LECTERN_FAULTS_CONTROL  a file of CONTROL_BYTES zeros: `struct control`, mapped by both sides
 *   LECTERN_FAULTS_LOSE     set: remember what a cut takes back
 *
 * Orders are written to `text`, then `told` is raised; `heard` follows when the order is in force. The last one is in force
 * from the start of a process too:
 *
 *   none
 *   fail ERROR on=GROUP[,GROUP] [path=PART] [after=BYTES] [times=N]
 *        ERROR is ENOSPC, EROFS, EIO or SHORT (fewer bytes are written than asked). GROUP is write (with truncation and
 *        allocation), sync, read, open (for writing, or to create), name (rename, link, unlink, folders). PART stands
 *        in the file's path. The first BYTES written still pass, the next call is cut short there. N: so often, then
 *        never again.
 *   hang on=GROUP[,GROUP] [path=PART]
 *        the calls of these groups (read, write, sync) do not return before the next order; each counts as refused once
 *   cut seed=N [calls=N] [keep=none]
 *        at once, or before the N-th call that changes or syncs something. What survives of what was not synced is
 *        drawn by the seed: none of it, all, some pages (so that lengths and bytes disagree), a torn beginning; of the
 *        names of a folder the first few changes. keep=none: nothing.
 *
 * What it holds a medium to. A file's bytes and length are durable when an fsync or fdatasync that began after them
 * returned 0; a name when the folder's did. A sync that failed has dropped what it should have written: a later sync that
 * succeeds does not save it (Linux's page cache does so). sync_file_range saves nothing. Pages survive one by one, and
 * 512 bytes of a page at least are written as a whole.
 *
 * What it does not see: system calls made without libc (hence the feature `use-libc` of rustix), writes through a shared mapping
 * (counted as `mmap`, so that a test can hold that there are none), and libc's own stdio. System calls are made by number,
 * so nothing has to be looked up before the process is set up.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#if __SIZEOF_POINTER__ != 8
#error "offsets are passed to system calls as one word"
#endif

#define CALLS(X) \
  X(open) X(open64) X(openat) X(openat64) X(creat) X(creat64) X(close) \
  X(write) X(pwrite) X(pwrite64) X(writev) X(pwritev) X(pwritev64) X(pwritev2) X(pwritev64v2) \
  X(read) X(pread) X(pread64) X(readv) X(preadv) X(preadv64) X(preadv2) X(preadv64v2) \
  X(ftruncate) X(ftruncate64) X(truncate) X(truncate64) X(fallocate) X(fallocate64) X(posix_fallocate) X(posix_fallocate64) \
  X(fsync) X(fdatasync) X(sync_file_range) \
  X(rename) X(renameat) X(renameat2) X(link) X(linkat) X(unlink) X(unlinkat) X(mkdir) X(mkdirat) X(rmdir) \
  X(copy_file_range) X(sendfile) X(sendfile64) X(splice) X(mmap)
enum call {
#define X(name) CALL_##name,
  CALLS(X)
#undef X
  CALLS_END
};
static const char *const NAMES[] = {
#define X(name) #name,
    CALLS(X)
#undef X
};

enum { CONTROL_BYTES = 8192, TEXT_BYTES = 448, PAGE = 4096, SECTOR = 512, DESCRIPTORS = 1 << 20, BUCKETS = 4096 };
enum { EXIT_CUT = 86, EXIT_ORDER = 87 };
enum group { GROUP_WRITE = 1, GROUP_SYNC = 2, GROUP_READ = 4, GROUP_OPEN = 8, GROUP_NAME = 16 };

/* Both sides map it. The counters' names stand in it, so that the other side need not know their order. */
struct control {
  uint32_t told, heard;
  uint32_t cut;               /* 1 once a cut is done */
  uint32_t lose;
  uint64_t steps;             /* calls that change or sync something */
  uint64_t pages_lost, pages_kept, names_lost, names_kept;
  uint64_t unrestored;        /* what a cut could not put back: the run says nothing */
  uint64_t unseen;            /* files found under another name than they were known by: somebody renames without libc */
  char text[TEXT_BYTES];
  struct { char name[24]; uint64_t seen, refused; } calls[CALLS_END];
};
_Static_assert(sizeof(struct control) <= CONTROL_BYTES, "the control file is too small");

/* What a page held when it was last durable (or, in a later round, when the sync before that round began). */
struct page { uint64_t number; uint32_t round; bool lost; unsigned char *old; /* NULL: zeros */ };
struct length { uint32_t round; uint64_t bytes; };

/* A file or folder below the folder, by its inode. Never freed: descriptors point to it. */
struct node {
  struct node *next;
  dev_t dev;
  ino_t ino;
  bool folder;
  int own;                    /* a descriptor of ours, or -1; a folder's stays open */
  uint32_t round;             /* raised when a sync begins: what is written then belongs to the next one */
  struct page *pages;
  size_t count, room;
  struct length *lengths;
  size_t lengths_count;
  uint64_t *noted;            /* pages saved in this round, number + 1; a hash table */
  size_t noted_count, noted_room;
  size_t pending, keep, at;   /* of a cut: changes of names in this folder */
  char *path;
};

enum kind { CREATED, LINKED, UNLINKED, RENAMED, EXCHANGED, FOLDER_MADE, FOLDER_REMOVED };
/* A change of names that is not durable yet. `spare`: the name in the spare folder of what it displaced. */
struct change { enum kind kind; struct node *from, *to; char *name, *new_name; char spare[24]; uint64_t at; bool undone; };

static struct control *control;
static char under[PATH_MAX];
static size_t under_length;
static bool lose;
static int spare_folder = -1;
static uint64_t spares, changes_made;
static struct node *nodes[BUCKETS];
static struct node *open_nodes[DESCRIPTORS];
static struct change *changes;
static size_t changes_count, changes_room;
static struct { int error; bool hang; unsigned on; char path[128]; int64_t after, times; } rule;
static struct { bool armed, keep_none; uint64_t seed, step; } to_cut;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void lock(void) { pthread_mutex_lock(&mutex); }
static void unlock(void) {
  int error = errno;
  pthread_mutex_unlock(&mutex);
  errno = error;
}

static void *grown(void *array, size_t *room, size_t size) {
  *room = *room ? *room * 2 : 16;
  void *larger = realloc(array, *room * size);
  if (!larger) abort();
  return larger;
}

static uint64_t drawn(void) { /* splitmix64 */
  uint64_t z = (to_cut.seed += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
static uint64_t drawn_below(uint64_t n) { return n ? drawn() % n : 0; }

/* What should be taken back cannot be. */
static void not_restored(const char *what, const char *name) {
  control->unrestored++;
  dprintf(2, "faults: cannot put back %s %s: %s\n", what, name, strerror(errno));
}

/* ---- which file it is ------------------------------------------------------------------------------------------- */

static bool is_under(const char *path) {
  return !strncmp(path, under, under_length) && (path[under_length] == '/' || !path[under_length]);
}

static bool path_of(int fd, char path[PATH_MAX]) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
  if (n < 0) return false;
  path[n] = 0;
  return true;
}

static const char *last_part(const char *path) { return strrchr(path, '/') + 1; }

/* The node behind a descriptor, made if it is new; NULL for what is not below the folder. `made`: the file was created
 * just now, and its inode may have been another's. Locked. */
static struct node *node_behind(int fd, bool made) {
  struct stat s;
  char path[PATH_MAX];
  if (!control || fstat(fd, &s) || !(S_ISREG(s.st_mode) || S_ISDIR(s.st_mode))) return NULL;
  if (!path_of(fd, path) || !is_under(path)) return NULL;
  struct node **bucket = &nodes[(s.st_ino ^ s.st_dev) % BUCKETS], *n = *bucket;
  while (n && (n->dev != s.st_dev || n->ino != s.st_ino)) n = n->next;
  if (!n) {
    n = calloc(1, sizeof *n);
    if (!n) abort();
    *n = (struct node){.next = *bucket, .dev = s.st_dev, .ino = s.st_ino, .own = -1};
    *bucket = n;
  }
  n->folder = S_ISDIR(s.st_mode);
  if (n->path && !made && !n->folder && s.st_nlink == 1 && strcmp(last_part(n->path), last_part(path))) control->unseen++;
  free(n->path);
  n->path = strdup(path);
  return n;
}

static struct node *node_of(int fd) {
  return (unsigned)fd >= DESCRIPTORS ? NULL : __atomic_load_n(&open_nodes[fd], __ATOMIC_ACQUIRE);
}
static void opened_as(int fd, struct node *n) {
  if ((unsigned)fd < DESCRIPTORS) __atomic_store_n(&open_nodes[fd], n, __ATOMIC_RELEASE);
}

/* A name and the folder it stands in; `folder` is NULL outside. */
struct place { struct node *folder; char name[NAME_MAX + 1]; char path[PATH_MAX]; };

/* Locked. */
static void find_place(int folder, const char *path, struct place *p) {
  char parent[PATH_MAX];
  p->folder = NULL;
  size_t end = path ? strlen(path) : 0;
  if (!control || !end || end >= PATH_MAX) return;
  while (end > 1 && path[end - 1] == '/') end--;
  size_t slash = end;
  while (slash && path[slash - 1] != '/') slash--;
  if (end - slash > NAME_MAX) return;
  memcpy(p->name, path + slash, end - slash);
  p->name[end - slash] = 0;
  memcpy(parent, path, slash);
  parent[slash] = 0;
  int fd = (int)syscall(SYS_openat, folder, slash ? parent : ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return;
  p->folder = node_behind(fd, false);
  if (p->folder) snprintf(p->path, sizeof p->path, "%.3800s/%.255s", p->folder->path, p->name);
  if (p->folder && p->folder->own < 0) p->folder->own = fd;
  else syscall(SYS_close, fd);
}

/* What stands at a place now has this name. */
static void named_now(const struct place *p) {
  int fd = (int)syscall(SYS_openat, p->folder->own, p->name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) return;
  node_behind(fd, true);
  syscall(SYS_close, fd);
}

static bool exists(const struct place *p) {
  struct stat s;
  return !fstatat(p->folder->own, p->name, &s, AT_SYMLINK_NOFOLLOW);
}

/* ---- what was not synced yet ------------------------------------------------------------------------------------ */

static uint64_t length_of(int fd) {
  struct stat s;
  return fstat(fd, &s) ? 0 : (uint64_t)s.st_size;
}

static int own(struct node *n, int fd) {
  if (n->own < 0) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n->own = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDWR | O_CLOEXEC, 0);
    if (n->own < 0) not_restored("what is written to", n->path);
  }
  return n->own;
}

static size_t slot_of(const struct node *n, uint64_t number) {
  size_t at = (number * 0x9e3779b97f4a7c15u) & (n->noted_room - 1);
  while (n->noted[at] && n->noted[at] != number + 1) at = (at + 1) & (n->noted_room - 1);
  return at;
}

/* True the first time in a round. */
static bool note(struct node *n, uint64_t number) {
  if (2 * (n->noted_count + 1) > n->noted_room) {
    uint64_t *old = n->noted;
    size_t room = n->noted_room;
    n->noted_room = room ? 2 * room : 64;
    n->noted = calloc(n->noted_room, sizeof *n->noted);
    if (!n->noted) abort();
    for (size_t i = 0; i < room; i++)
      if (old[i]) n->noted[slot_of(n, old[i] - 1)] = old[i];
    free(old);
  }
  size_t at = slot_of(n, number);
  if (n->noted[at]) return false;
  n->noted[at] = number + 1;
  n->noted_count++;
  return true;
}

static void save_page(struct node *n, uint64_t number, uint64_t length) {
  if (!note(n, number)) return;
  if (n->count == n->room) n->pages = grown(n->pages, &n->room, sizeof *n->pages);
  struct page *page = &n->pages[n->count++];
  *page = (struct page){.number = number, .round = n->round};
  if (number * PAGE >= length) return;
  unsigned char bytes[PAGE] = {0};
  static const unsigned char zeros[PAGE];
  if (syscall(SYS_pread64, n->own, bytes, PAGE, number * PAGE) <= 0 || !memcmp(bytes, zeros, PAGE)) return;
  page->old = malloc(PAGE);
  if (!page->old) abort();
  memcpy(page->old, bytes, PAGE);
}

static void save_length(struct node *n, uint64_t length) {
  if (n->lengths_count && n->lengths[n->lengths_count - 1].round == n->round) return;
  n->lengths = realloc(n->lengths, (n->lengths_count + 1) * sizeof *n->lengths);
  if (!n->lengths) abort();
  n->lengths[n->lengths_count++] = (struct length){n->round, length};
}

/* Before bytes from `first` up to `end` change; `end` becomes the length where it is larger. */
static void before_write(struct node *n, int fd, uint64_t first, uint64_t end) {
  if (!lose || end <= first || own(n, fd) < 0) return;
  uint64_t length = length_of(n->own);
  if (end > length) save_length(n, length);
  for (uint64_t page = first / PAGE; page <= (end - 1) / PAGE; page++) save_page(n, page, length);
}

static void before_truncate(struct node *n, int fd, uint64_t to) {
  if (!lose || own(n, fd) < 0) return;
  uint64_t length = length_of(n->own);
  if (to != length) save_length(n, length);
  for (uint64_t page = to / PAGE; page * PAGE < length; page++) save_page(n, page, length);
}

static void forget_page(struct page *page) { free(page->old); }

/* Closes our descriptor of a file with nothing left to put back. */
static void rest(struct node *n) {
  if (n->folder || n->count || n->lengths_count || n->own < 0) return;
  syscall(SYS_close, n->own);
  n->own = -1;
}

/* A file's inode may be another's by now: what was known of it is not about the new one. */
static void renew(struct node *n) {
  for (size_t i = 0; i < n->count; i++) forget_page(&n->pages[i]);
  n->count = n->lengths_count = n->noted_count = 0;
  if (n->noted) memset(n->noted, 0, n->noted_room * sizeof *n->noted);
  rest(n);
}

static bool written_since(const struct node *n, const struct page *lost, uint32_t round) {
  for (const struct page *p = lost + 1; p < n->pages + n->count; p++)
    if (p->number == lost->number && p->round <= round && !p->lost) return true;
  return false;
}

/* A sync that began at the end of `round` has succeeded. */
static void settle(struct node *n, uint32_t round) {
  size_t kept = 0;
  for (size_t i = 0; i < n->count; i++) {
    struct page *page = &n->pages[i];
    bool durable = page->round <= round && (!page->lost || written_since(n, page, round));
    if (durable) forget_page(page);
    else n->pages[kept++] = *page;
  }
  n->count = kept;
  kept = 0;
  for (size_t i = 0; i < n->lengths_count; i++)
    if (n->lengths[i].round > round) n->lengths[kept++] = n->lengths[i];
  n->lengths_count = kept;
  rest(n);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

static void change(enum kind kind, const struct place *from, const struct place *to, const char *spare) {
  if (!lose) return;
  if (changes_count == changes_room) changes = grown(changes, &changes_room, sizeof *changes);
  struct change *c = &changes[changes_count++];
  *c = (struct change){.kind = kind, .from = from->folder, .name = strdup(from->name), .at = ++changes_made};
  c->to = to ? to->folder : from->folder;
  c->new_name = to ? strdup(to->name) : NULL;
  strcpy(c->spare, spare);
}

/* Gives a file a second name in the spare folder, so that it can come back; what is no file (a socket) gets none. */
static void spare(const struct place *p, char name[24]) {
  struct stat s;
  *name = 0;
  if (!lose || !p->folder || fstatat(p->folder->own, p->name, &s, AT_SYMLINK_NOFOLLOW) || !S_ISREG(s.st_mode)) return;
  snprintf(name, 24, "%lu", (unsigned long)++spares);
  if (!syscall(SYS_linkat, p->folder->own, p->name, spare_folder, name, 0)) return;
  not_restored("a name", p->path);
  *name = 0;
}

static void drop_spare(const struct change *c) {
  if (!*c->spare) return;
  int flag = c->kind == FOLDER_REMOVED ? AT_REMOVEDIR : 0;
  syscall(SYS_unlinkat, spare_folder, c->spare, flag);
}

/* The changes of a folder's names up to `at` are durable. */
static void settle_names(struct node *folder, uint64_t at) {
  size_t kept = 0;
  for (size_t i = 0; i < changes_count; i++) {
    struct change *c = &changes[i];
    if (c->to == folder && c->at <= at) {
      drop_spare(c);
      free(c->name);
      free(c->new_name);
    } else {
      changes[kept++] = *c;
    }
  }
  changes_count = kept;
}

/* ---- the cut ---------------------------------------------------------------------------------------------------- */

static void put_back(struct node *n, const struct page *page, uint64_t skip, uint64_t length) {
  static const unsigned char zeros[PAGE];
  uint64_t first = page->number * PAGE + skip, end = page->number * PAGE + PAGE;
  if (end > length) end = length;
  if (first >= end) return;
  const unsigned char *bytes = (page->old ? page->old : zeros) + skip;
  if (syscall(SYS_pwrite64, n->own, bytes, end - first, first) != (ssize_t)(end - first)) not_restored("bytes", n->path);
}

static bool is_first_of_its_number(const struct node *n, size_t i, uint64_t *seen, size_t room) {
  size_t at = (n->pages[i].number * 0x9e3779b97f4a7c15u) & (room - 1);
  while (seen[at] && seen[at] != n->pages[i].number + 1) at = (at + 1) & (room - 1);
  if (seen[at]) return false;
  seen[at] = n->pages[i].number + 1;
  return true;
}

enum survival { NOTHING, EVERYTHING, SOME_PAGES, TORN_BEGINNING };

/* Pages stand in the order they were first written since the last sync. */
static void cut_file(struct node *n) {
  if (!n->count && !n->lengths_count) return;
  enum survival survival = to_cut.keep_none ? NOTHING : (enum survival)drawn_below(4);
  uint64_t length = length_of(n->own), durable = n->lengths_count ? n->lengths[0].bytes : length;
  size_t whole = survival == TORN_BEGINNING ? drawn_below(n->count + 1) : 0;
  bool length_kept = survival == EVERYTHING || (survival != NOTHING && drawn_below(2));
  /* A length that came back brings its pages back. */
  if (durable > length && survival != EVERYTHING) length_kept = false;
  uint64_t final = length_kept ? length : durable;
  if (!length_kept && survival == TORN_BEGINNING && durable < length && whole < n->count) {
    final = n->pages[whole].number * PAGE + drawn_below(PAGE);
    final = final < durable ? durable : final > length ? length : final;
  }
  if (final != length && syscall(SYS_ftruncate, n->own, final)) not_restored("length", n->path);
  size_t room = 64;
  while (room < 2 * n->count + 2) room *= 2;
  uint64_t *seen = calloc(room, sizeof *seen);
  if (!seen) abort();
  for (size_t i = 0; i < n->count; i++) {
    const struct page *page = &n->pages[i];
    if (!is_first_of_its_number(n, i, seen, room)) continue;
    bool kept = survival == EVERYTHING || (survival == SOME_PAGES && drawn_below(2)) ||
                (survival == TORN_BEGINNING && i < whole);
    uint64_t skip = survival == TORN_BEGINNING && i == whole ? SECTOR * drawn_below(PAGE / SECTOR) : 0;
    if (page->lost) kept = false, skip = 0;
    if (page->number * PAGE + PAGE > length && durable > length) kept = false, skip = 0;
    if (kept) control->pages_kept++;
    else control->pages_lost++, put_back(n, page, skip, final);
  }
  free(seen);
}

static int undo(const struct change *c) {
  int from = c->from->own, to = c->to->own, done;
  switch (c->kind) {
  case CREATED: return (int)syscall(SYS_unlinkat, from, c->name, 0);
  case LINKED: return (int)syscall(SYS_unlinkat, to, c->new_name, 0);
  case UNLINKED: return (int)syscall(SYS_linkat, spare_folder, c->spare, from, c->name, 0);
  case EXCHANGED: return (int)syscall(SYS_renameat2, to, c->new_name, from, c->name, RENAME_EXCHANGE);
  case RENAMED:
    done = (int)syscall(SYS_renameat2, to, c->new_name, from, c->name, 0);
    return done || !*c->spare ? done : (int)syscall(SYS_linkat, spare_folder, c->spare, to, c->new_name, 0);
  case FOLDER_MADE: {
    char name[24];
    snprintf(name, sizeof name, "%lu", (unsigned long)++spares);
    return (int)syscall(SYS_renameat2, from, c->name, spare_folder, name, 0);
  }
  case FOLDER_REMOVED: return (int)syscall(SYS_renameat2, spare_folder, c->spare, from, c->name, 0);
  }
  return -1;
}

/* A folder that is removed for good takes no names back. */
static bool is_gone(const struct node *folder) {
  struct stat s;
  return fstat(folder->own, &s) || !s.st_nlink;
}

/* In each folder the last changes go, the first stay; one that was made after its folder goes with it. */
static void cut_names(void) {
  for (size_t i = 0; i < changes_count; i++) changes[i].to->pending++;
  for (size_t i = 0; i < changes_count; i++) {
    struct node *folder = changes[i].to;
    if (!folder->at) folder->keep = to_cut.keep_none ? 0 : drawn_below(folder->pending + 1);
    changes[i].undone = folder->at++ >= folder->keep;
  }
  for (size_t i = changes_count; i-- > 0;) {
    if (!changes[i].undone) {
      control->names_kept++;
      continue;
    }
    const struct change *c = &changes[i];
    static const char *const kinds[] = {"made", "linked", "unlinked", "renamed", "exchanged", "folder made", "folder removed"};
    control->names_lost++;
    dprintf(2, "faults: lost: %s %s/%s %s\n", kinds[c->kind], c->from->path, c->name, c->new_name ? c->new_name : "");
    if (undo(c) && !is_gone(c->from) && !is_gone(c->to)) not_restored(kinds[c->kind], c->name);
  }
}

/* Locked for ever: nobody who waits for the lock does anything more. */
static void cut(void) {
  for (size_t b = 0; b < BUCKETS; b++)
    for (struct node *n = nodes[b]; n; n = n->next)
      if (!n->folder) cut_file(n);
  cut_names();
  __atomic_store_n(&control->cut, 1, __ATOMIC_SEQ_CST);
  syscall(SYS_exit_group, EXIT_CUT);
}

/* ---- orders ----------------------------------------------------------------------------------------------------- */

static void not_understood(const char *word) {
  dprintf(2, "faults: cannot understand %s\n", word);
  syscall(SYS_exit_group, EXIT_ORDER);
}

static int error_named(const char *name) {
  static const struct { const char *name; int error; } known[] = {
      {"ENOSPC", ENOSPC}, {"EROFS", EROFS}, {"EIO", EIO}, {"SHORT", -1}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (name && !strcmp(name, known[i].name)) return known[i].error;
  not_understood(name ? name : "fail");
  return 0;
}

static unsigned groups_named(char *names) {
  static const char *const known[] = {"write", "sync", "read", "open", "name"};
  unsigned groups = 0;
  for (char *rest, *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
    size_t i = 0;
    while (i < 5 && strcmp(name, known[i])) i++;
    if (i == 5) not_understood(name);
    groups |= 1u << i;
  }
  return groups;
}

static void obey(void) {
  char text[TEXT_BYTES + 1] = {0}, *rest;
  uint32_t told = __atomic_load_n(&control->told, __ATOMIC_ACQUIRE);
  memcpy(text, control->text, TEXT_BYTES);
  char *verb = strtok_r(text, " \n", &rest);
  bool fail = verb && !strcmp(verb, "fail"), hang = verb && !strcmp(verb, "hang"), is_cut = verb && !strcmp(verb, "cut");
  if (!fail && !hang && !is_cut && (!verb || strcmp(verb, "none"))) not_understood(verb ? verb : "an empty order");
  if (is_cut && !lose) not_understood("cut without LECTERN_FAULTS_LOSE");
  uint64_t calls = 0;
  memset(&rule, 0, sizeof rule);
  rule.times = -1;
  rule.hang = hang;
  if (fail) rule.error = error_named(strtok_r(NULL, " \n", &rest));
  for (char *word; (fail || hang || is_cut) && (word = strtok_r(NULL, " \n", &rest));) {
    char *value = strchr(word, '=');
    if (!value) not_understood(word);
    *value++ = 0;
    if ((fail || hang) && !strcmp(word, "on")) rule.on = groups_named(value);
    else if ((fail || hang) && !strcmp(word, "path")) snprintf(rule.path, sizeof rule.path, "%s", value);
    else if (fail && !strcmp(word, "after")) rule.after = strtoll(value, NULL, 10);
    else if (fail && !strcmp(word, "times")) rule.times = strtoll(value, NULL, 10);
    else if (is_cut && !strcmp(word, "seed")) to_cut.seed = strtoull(value, NULL, 10);
    else if (is_cut && !strcmp(word, "calls")) calls = strtoull(value, NULL, 10);
    else if (is_cut && !strcmp(word, "keep") && !strcmp(value, "none")) to_cut.keep_none = true;
    else not_understood(word);
  }
  if (is_cut) to_cut.armed = true, to_cut.step = control->steps + calls;
  __atomic_store_n(&control->heard, told, __ATOMIC_RELEASE);
  if (is_cut && !calls) cut();
}

static void *listen_for_orders(void *unused) {
  for (;;) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (__atomic_load_n(&control->told, __ATOMIC_ACQUIRE) == control->heard) continue;
    lock();
    obey();
    unlock();
  }
  return unused;
}

static void seen(enum call c) { __atomic_add_fetch(&control->calls[c].seen, 1, __ATOMIC_RELAXED); }

/* Counts a call that changes or syncs something, and ends everything where a cut is due. Locked. */
static void step(enum call c) {
  seen(c);
  control->steps++;
  if (to_cut.armed && control->steps >= to_cut.step) cut();
}

/* Whether the rule is about it. Locked. */
static bool concerns(unsigned group, const char *path) {
  return (rule.on & group) && rule.times && (!*rule.path || strstr(path, rule.path));
}

/* Returns when no rule holds the call up. Not locked: others go on. */
static void held_up(enum call c, unsigned group, struct node *n) {
  for (bool counted = false;;) {
    lock();
    bool hangs = rule.hang && concerns(group, n->path);
    if (hangs && !counted) __atomic_add_fetch(&control->calls[c].refused, 1, __ATOMIC_RELAXED);
    unlock();
    if (!hangs) return;
    counted = true;
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
}

/* Whether the rule refuses it; `errno` says how. Of a write it may leave fewer bytes. Locked. */
static bool refused(enum call c, unsigned group, const char *path, size_t *bytes) {
  if (rule.hang || !concerns(group, path)) return false;
  if (rule.error < 0) {
    if (!bytes || *bytes < 2) return false;
    *bytes = *bytes / 2;
  } else if (bytes && rule.after > 0) {
    if ((uint64_t)rule.after < *bytes) *bytes = (size_t)rule.after;
    rule.after -= (int64_t)*bytes;
    return false;
  }
  if (rule.times > 0) rule.times--;
  __atomic_add_fetch(&control->calls[c].refused, 1, __ATOMIC_RELAXED);
  if (rule.error < 0) return false;
  errno = rule.error;
  return true;
}

__attribute__((constructor)) static void begin(void) {
  const char *folder = getenv("LECTERN_FAULTS_UNDER"), *file = getenv("LECTERN_FAULTS_CONTROL");
  if (!folder || !file) return;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
  if (fd < 0 || !realpath(folder, under) || length_of(fd) < CONTROL_BYTES) not_understood("LECTERN_FAULTS_UNDER or _CONTROL");
  under_length = strlen(under);
  struct control *mapped = mmap(NULL, CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) not_understood(file);
  syscall(SYS_close, fd);
  for (int i = 0; i < CALLS_END; i++) strncpy(mapped->calls[i].name, NAMES[i], sizeof mapped->calls[i].name - 1);
  lose = getenv("LECTERN_FAULTS_LOSE");
  mapped->lose = lose;
  if (lose) {
    char beside[PATH_MAX + 8];
    snprintf(beside, sizeof beside, "%s.spare", under);
    syscall(SYS_mkdirat, AT_FDCWD, beside, 0700);
    spare_folder = (int)syscall(SYS_openat, AT_FDCWD, beside, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (spare_folder < 0) not_understood(beside);
  }
  control = mapped;
  if (mapped->told) obey();
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t listener;
  if (pthread_create(&listener, NULL, listen_for_orders, NULL)) not_understood("no thread");
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- open and close --------------------------------------------------------------------------------------------- */

static int do_open(enum call c, int folder, const char *path, int flags, mode_t mode) {
  if (!control) return (int)syscall(SYS_openat, folder, path, flags, mode);
  bool changing = (flags & (O_CREAT | O_TRUNC)) || (flags & O_ACCMODE) != O_RDONLY;
  struct place p;
  lock();
  find_place(folder, path, &p);
  if (!changing || !p.folder) {
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode), error = errno;
    struct node *n = fd < 0 ? NULL : node_behind(fd, false);
    if (fd >= 0) opened_as(fd, n);
    if (n) seen(c);
    errno = error;
    unlock();
    return fd;
  }
  bool there = exists(&p), truncates = there && (flags & O_TRUNC) && lose;
  step(c);
  /* What is there takes no space to open. */
  if (!(there && rule.error == ENOSPC) && refused(c, GROUP_OPEN, p.path, NULL)) {
    unlock();
    return -1;
  }
  int fd = (int)syscall(SYS_openat, folder, path, truncates ? flags & ~O_TRUNC : flags, mode), error = errno;
  struct node *n = fd < 0 ? NULL : node_behind(fd, !there);
  if (fd >= 0) opened_as(fd, n);
  if (n && !there) {
    renew(n);
    change(CREATED, &p, NULL, "");
  } else if (n && truncates) {
    before_truncate(n, fd, 0);
    if (syscall(SYS_ftruncate, fd, 0)) not_restored("length", n->path);
  }
  errno = error;
  unlock();
  return fd;
}

static mode_t mode_of(int flags, va_list more) {
  return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
}
#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    va_list more; \
    va_start(more, flags); \
    mode_t mode = mode_of(flags, more); \
    va_end(more); \
    return do_open(CALL_##name, AT_FDCWD, path, flags, mode); \
  }
#define OPENAT(name) \
  int name(int folder, const char *path, int flags, ...) { \
    va_list more; \
    va_start(more, flags); \
    mode_t mode = mode_of(flags, more); \
    va_end(more); \
    return do_open(CALL_##name, folder, path, flags, mode); \
  }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
int creat(const char *path, mode_t mode) { return do_open(CALL_creat, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) {
  return do_open(CALL_creat64, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int close(int fd) {
  if (node_of(fd)) seen(CALL_close);
  opened_as(fd, NULL);
  return (int)syscall(SYS_close, fd);
}

static int doubled(int fd, int copy) {
  if (copy >= 0) opened_as(copy, node_of(fd));
  return copy;
}
int dup(int fd) { return doubled(fd, (int)syscall(SYS_dup, fd)); }
int dup3(int fd, int to, int flags) { return doubled(fd, (int)syscall(SYS_dup3, fd, to, flags)); }
int dup2(int fd, int to) {
  if (fd != to) return dup3(fd, to, 0);
  return syscall(SYS_fcntl, fd, F_GETFD) < 0 ? -1 : to;
}
static int do_fcntl(int fd, int order, long value) {
  int done = (int)syscall(SYS_fcntl, fd, order, value);
  return order == F_DUPFD || order == F_DUPFD_CLOEXEC ? doubled(fd, done) : done;
}
#define FCNTL(name) \
  int name(int fd, int order, ...) { \
    va_list more; \
    va_start(more, order); \
    long value = va_arg(more, long); \
    va_end(more); \
    return do_fcntl(fd, order, value); \
  }
FCNTL(fcntl)
FCNTL(fcntl64)

/* ---- bytes ------------------------------------------------------------------------------------------------------ */

/* `at` < 0: at the descriptor's place. */
static ssize_t write_through(int fd, const struct iovec *parts, int count, off_t at, int flags) {
  if (at < 0 && !flags) return syscall(SYS_writev, fd, parts, count);
  return syscall(SYS_pwritev2, fd, parts, count, at, 0L, flags);
}

static ssize_t do_write(enum call c, int fd, const struct iovec *parts, int count, off_t at, int flags) {
  struct node *n = node_of(fd);
  if (!n || count < 0 || count > IOV_MAX) return write_through(fd, parts, count, at, flags);
  struct iovec fewer[count ? count : 1];
  size_t bytes = 0, left;
  for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
  held_up(c, GROUP_WRITE, n);
  lock();
  step(c);
  if (refused(c, GROUP_WRITE, n->path, &bytes)) {
    unlock();
    return -1;
  }
  left = bytes;
  for (int i = 0; i < count; i++) {
    size_t length = parts[i].iov_len < left ? parts[i].iov_len : left;
    fewer[i] = (struct iovec){parts[i].iov_base, length};
    left -= length;
  }
  if (lose) {
    bool appends = syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
    off_t first = appends ? (off_t)length_of(fd) : at < 0 ? (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) : at;
    before_write(n, fd, (uint64_t)first, (uint64_t)first + bytes);
  }
  ssize_t done = write_through(fd, fewer, count, at, flags);
  unlock();
  return done;
}

static ssize_t write_at(enum call c, int fd, const struct iovec *parts, int count, off_t at, int flags) {
  if (at < 0 && !(at == -1 && (c == CALL_pwritev2 || c == CALL_pwritev64v2))) {
    errno = EINVAL;
    return -1;
  }
  return do_write(c, fd, parts, count, at, flags);
}
ssize_t write(int fd, const void *bytes, size_t length) {
  if (!node_of(fd)) return syscall(SYS_write, fd, bytes, length); /* sockets, mostly */
  return do_write(CALL_write, fd, &(struct iovec){(void *)bytes, length}, 1, -1, 0);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
  return write_at(CALL_pwrite, fd, &(struct iovec){(void *)bytes, length}, 1, at, 0);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) {
  return write_at(CALL_pwrite64, fd, &(struct iovec){(void *)bytes, length}, 1, at, 0);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { return do_write(CALL_writev, fd, parts, count, -1, 0); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
  return write_at(CALL_pwritev, fd, parts, count, at, 0);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) {
  return write_at(CALL_pwritev64, fd, parts, count, at, 0);
}
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
  return write_at(CALL_pwritev2, fd, parts, count, at, flags);
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
  return write_at(CALL_pwritev64v2, fd, parts, count, at, flags);
}

/* Whether a read is let through. The lock is taken only while a rule is about reads. One that is not to wait is told that it would
 * have to, rather than held up. */
static bool may_read(enum call c, int fd, int flags) {
  struct node *n = node_of(fd);
  if (!n) return true;
  seen(c);
  if (!(__atomic_load_n(&rule.on, __ATOMIC_RELAXED) & GROUP_READ)) return true;
  if (flags & RWF_NOWAIT && rule.hang) {
    errno = EAGAIN;
    return false;
  }
  held_up(c, GROUP_READ, n);
  lock();
  bool refusal = refused(c, GROUP_READ, n->path, NULL);
  unlock();
  return !refusal;
}
#define READ(name, number, flags, parameters, ...) \
  ssize_t name parameters { return may_read(CALL_##name, fd, flags) ? syscall(number, __VA_ARGS__) : -1; }
READ(read, SYS_read, 0, (int fd, void *bytes, size_t length), fd, bytes, length)
READ(pread, SYS_pread64, 0, (int fd, void *bytes, size_t length, off_t at), fd, bytes, length, at)
READ(pread64, SYS_pread64, 0, (int fd, void *bytes, size_t length, off_t at), fd, bytes, length, at)
READ(readv, SYS_readv, 0, (int fd, const struct iovec *parts, int count), fd, parts, count)
READ(preadv, SYS_preadv, 0, (int fd, const struct iovec *parts, int count, off_t at), fd, parts, count, at, 0L)
READ(preadv64, SYS_preadv, 0, (int fd, const struct iovec *parts, int count, off_t at), fd, parts, count, at, 0L)
READ(preadv2, SYS_preadv2, flags, (int fd, const struct iovec *parts, int count, off_t at, int flags), fd, parts, count, at, 0L, flags)
READ(preadv64v2, SYS_preadv2, flags, (int fd, const struct iovec *parts, int count, off_t at, int flags), fd, parts, count, at, 0L,
     flags)

static int do_truncate(enum call c, int fd, off_t to) {
  struct node *n = node_of(fd);
  if (!n) return (int)syscall(SYS_ftruncate, fd, to);
  lock();
  step(c);
  int done = -1;
  /* A length takes no space. */
  if (rule.error == ENOSPC || !refused(c, GROUP_WRITE, n->path, NULL)) {
    before_truncate(n, fd, (uint64_t)to);
    done = (int)syscall(SYS_ftruncate, fd, to);
  }
  unlock();
  return done;
}
int ftruncate(int fd, off_t to) { return do_truncate(CALL_ftruncate, fd, to); }
int ftruncate64(int fd, off_t to) { return do_truncate(CALL_ftruncate64, fd, to); }

static int truncate_by_path(enum call c, const char *path, off_t to) {
  int fd = do_open(c, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return -1;
  int done = do_truncate(c, fd, to), error = errno;
  opened_as(fd, NULL);
  syscall(SYS_close, fd);
  errno = error;
  return done;
}
int truncate(const char *path, off_t to) { return truncate_by_path(CALL_truncate, path, to); }
int truncate64(const char *path, off_t to) { return truncate_by_path(CALL_truncate64, path, to); }

static int do_fallocate(enum call c, int fd, int mode, off_t at, off_t length) {
  struct node *n = node_of(fd);
  if (!n) return (int)syscall(SYS_fallocate, fd, mode, at, length);
  lock();
  step(c);
  int done = -1;
  if (!refused(c, GROUP_WRITE, n->path, NULL)) {
    before_write(n, fd, (uint64_t)at, (uint64_t)(at + length));
    done = (int)syscall(SYS_fallocate, fd, mode, at, length);
  }
  unlock();
  return done;
}
int fallocate(int fd, int mode, off_t at, off_t length) { return do_fallocate(CALL_fallocate, fd, mode, at, length); }
int fallocate64(int fd, int mode, off_t at, off_t length) { return do_fallocate(CALL_fallocate64, fd, mode, at, length); }
static int error_of(int done) { return done ? errno : 0; }
int posix_fallocate(int fd, off_t at, off_t length) {
  return error_of(do_fallocate(CALL_posix_fallocate, fd, 0, at, length));
}
int posix_fallocate64(int fd, off_t at, off_t length) {
  return error_of(do_fallocate(CALL_posix_fallocate64, fd, 0, at, length));
}

/* Copies inside the kernel are not followed: whoever wants one falls back to reading and writing. */
static bool kernel_copies(enum call c, int to, int error) {
  if (!node_of(to)) return true;
  seen(c);
  errno = error;
  return false;
}
ssize_t copy_file_range(int fd, off_t *at, int to, off_t *to_at, size_t length, unsigned flags) {
  if (!kernel_copies(CALL_copy_file_range, to, EXDEV)) return -1;
  return syscall(SYS_copy_file_range, fd, at, to, to_at, length, flags);
}
ssize_t sendfile(int to, int fd, off_t *at, size_t length) {
  return kernel_copies(CALL_sendfile, to, EINVAL) ? syscall(SYS_sendfile, to, fd, at, length) : -1;
}
ssize_t sendfile64(int to, int fd, off_t *at, size_t length) {
  return kernel_copies(CALL_sendfile64, to, EINVAL) ? syscall(SYS_sendfile, to, fd, at, length) : -1;
}
ssize_t splice(int fd, off_t *at, int to, off_t *to_at, size_t length, unsigned flags) {
  return kernel_copies(CALL_splice, to, EINVAL) ? syscall(SYS_splice, fd, at, to, to_at, length, flags) : -1;
}

void *mmap(void *where, size_t length, int protection, int flags, int fd, off_t at) {
  bool writes = (flags & MAP_TYPE) != MAP_PRIVATE && (protection & PROT_WRITE);
  if (fd >= 0 && writes && node_of(fd)) seen(CALL_mmap);
  return (void *)syscall(SYS_mmap, where, length, protection, flags, fd, at);
}
void *mmap64(void *where, size_t length, int protection, int flags, int fd, off_t at) {
  return mmap(where, length, protection, flags, fd, at);
}

/* ---- syncs ------------------------------------------------------------------------------------------------------ */

/* The sync itself is done without the lock, so that others write meanwhile, as they do in life. */
static int do_sync(enum call c, int fd, long number) {
  struct node *n = node_of(fd);
  if (!n) return (int)syscall(number, fd);
  held_up(c, GROUP_SYNC, n);
  lock();
  step(c);
  bool refusal = refused(c, GROUP_SYNC, n->path, NULL);
  int error = errno;
  uint32_t round = n->round++;
  uint64_t names = changes_made;
  n->noted_count = 0;
  if (n->noted) memset(n->noted, 0, n->noted_room * sizeof *n->noted);
  unlock();
  int done = refusal ? -1 : (int)syscall(number, fd);
  if (!refusal) error = errno;
  lock();
  if (done) {
    for (size_t i = 0; i < n->count; i++)
      if (n->pages[i].round <= round) n->pages[i].lost = true;
  } else if (n->folder) {
    settle_names(n, names);
  } else {
    settle(n, round);
  }
  unlock();
  errno = error;
  return done;
}
int fsync(int fd) { return do_sync(CALL_fsync, fd, SYS_fsync); }
int fdatasync(int fd) { return do_sync(CALL_fdatasync, fd, SYS_fdatasync); }

int sync_file_range(int fd, off64_t at, off64_t length, unsigned flags) {
  struct node *n = node_of(fd);
  if (n) {
    lock();
    step(CALL_sync_file_range);
    bool refusal = refused(CALL_sync_file_range, GROUP_SYNC, n->path, NULL);
    unlock();
    if (refusal) return -1;
  }
  return (int)syscall(SYS_sync_file_range, fd, at, length, flags);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* Begins a change at a place below the folder: false where a rule refuses it. Locked. */
static bool begins(enum call c, const struct place *p) {
  step(c);
  return !refused(c, GROUP_NAME, p->path, NULL);
}

static int do_rename(enum call c, int from, const char *path, int to, const char *new_path, unsigned flags) {
  struct place a, b;
  lock();
  find_place(from, path, &a);
  find_place(to, new_path, &b);
  int done = -1;
  if (!a.folder || !b.folder) {
    if (a.folder || b.folder) seen(c);
    done = (int)syscall(SYS_renameat2, from, path, to, new_path, flags);
  } else if (begins(c, &b)) {
    char displaced[24] = "";
    if (!flags) spare(&b, displaced);
    done = (int)syscall(SYS_renameat2, from, path, to, new_path, flags);
    if (!done) {
      change(flags & RENAME_EXCHANGE ? EXCHANGED : RENAMED, &a, &b, displaced);
      named_now(&b);
      if (flags & RENAME_EXCHANGE) named_now(&a);
    } else if (*displaced) {
      syscall(SYS_unlinkat, spare_folder, displaced, 0);
    }
  }
  unlock();
  return done;
}
int rename(const char *path, const char *to) { return do_rename(CALL_rename, AT_FDCWD, path, AT_FDCWD, to, 0); }
int renameat(int from, const char *path, int to, const char *new_path) {
  return do_rename(CALL_renameat, from, path, to, new_path, 0);
}
int renameat2(int from, const char *path, int to, const char *new_path, unsigned flags) {
  return do_rename(CALL_renameat2, from, path, to, new_path, flags);
}

static int do_link(enum call c, int from, const char *path, int to, const char *new_path, int flags) {
  struct place b;
  lock();
  find_place(to, new_path, &b);
  int done = -1;
  if (!b.folder || begins(c, &b)) {
    done = (int)syscall(SYS_linkat, from, path, to, new_path, flags);
    if (!done && b.folder) change(LINKED, &b, &b, "");
  }
  unlock();
  return done;
}
int link(const char *path, const char *to) { return do_link(CALL_link, AT_FDCWD, path, AT_FDCWD, to, 0); }
int linkat(int from, const char *path, int to, const char *new_path, int flags) {
  return do_link(CALL_linkat, from, path, to, new_path, flags);
}

static int do_unlink(enum call c, int folder, const char *path) {
  struct place p;
  lock();
  find_place(folder, path, &p);
  int done = -1;
  if (!p.folder || begins(c, &p)) {
    char removed[24] = "";
    spare(&p, removed);
    done = (int)syscall(SYS_unlinkat, folder, path, 0);
    if (!done && *removed) change(UNLINKED, &p, NULL, removed);
    else if (*removed) syscall(SYS_unlinkat, spare_folder, removed, 0);
  }
  unlock();
  return done;
}

static bool is_empty(const struct place *p) {
  int fd = (int)syscall(SYS_openat, p->folder->own, p->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  DIR *listing = fd < 0 ? NULL : fdopendir(fd);
  if (!listing) return false;
  int names = 0;
  while (readdir(listing)) names++;
  closedir(listing);
  return names == 2;
}

static int do_rmdir(enum call c, int folder, const char *path) {
  struct place p;
  lock();
  find_place(folder, path, &p);
  int done = -1;
  if (!p.folder || begins(c, &p)) {
    if (p.folder && lose && is_empty(&p)) {
      /* It keeps its inode, so that what was unlinked in it can come back with it. */
      char name[24];
      snprintf(name, sizeof name, "%lu", (unsigned long)++spares);
      done = (int)syscall(SYS_renameat2, p.folder->own, p.name, spare_folder, name, 0);
      if (!done) change(FOLDER_REMOVED, &p, NULL, name);
    } else {
      done = (int)syscall(SYS_unlinkat, folder, path, AT_REMOVEDIR);
    }
  }
  unlock();
  return done;
}
int unlink(const char *path) { return do_unlink(CALL_unlink, AT_FDCWD, path); }
int unlinkat(int folder, const char *path, int flags) {
  return flags & AT_REMOVEDIR ? do_rmdir(CALL_unlinkat, folder, path) : do_unlink(CALL_unlinkat, folder, path);
}
int rmdir(const char *path) { return do_rmdir(CALL_rmdir, AT_FDCWD, path); }

static int do_mkdir(enum call c, int folder, const char *path, mode_t mode) {
  struct place p;
  lock();
  find_place(folder, path, &p);
  int done = -1;
  if (!p.folder || begins(c, &p)) {
    done = (int)syscall(SYS_mkdirat, folder, path, mode);
    if (!done && p.folder) change(FOLDER_MADE, &p, NULL, "");
  }
  unlock();
  return done;
}
int mkdir(const char *path, mode_t mode) { return do_mkdir(CALL_mkdir, AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return do_mkdir(CALL_mkdirat, folder, path, mode); }
