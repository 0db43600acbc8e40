/* SPDX-License-Identifier: Apache-2.0 */
#include "template/lazy.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lazy_map.h"
#include "base/progress.h"
#include "instance/own_disk.h"
#include "pull/session.h"
#include "start/working_set.h"
#include "template/chunk_lists.h"
#include "template/pull_files.h"

#define MEMORY	    "snapshot/mem.bin"
#define WORKING_SET "snapshot/" WORKING_SET_NAME

/* Ranges of the rest: enough for the line, few enough that VMs soon see what came. */
#define FILL_RANGES	 6u
#define FILL_RANGE_BYTES ((uint64_t)4 << 20)

/* Ranges of what VMs wait for. */
#define FAULT_RANGES	  16u
#define FAULT_RANGE_BYTES ((uint64_t)512 << 10)
#define WANTS_MAX	  256u

/* Pages between two of the working set: they are read ahead with it (start/working_set.c). */
#define GAP_PAGES 16u

/* Fetches in a row that bring damaged chunks. */
#define DAMAGED_MAX 2u

/* One of the two fetches that may be under way. */
struct line {
	struct session session;
	struct chunk_ranges ranges;
	bool busy;
	unsigned damaged; /* fetches in a row */
};

struct filling {
	struct lazy *lazy;
	const struct pull_files *files;
	struct assembly assembly;
	struct lazy_mount mount;
	int dir_fd, source_fd; /* as of on_ready */
	int ranges_fd;
	struct mvm_artifact_result *result;
	struct line fill, fault;
	struct lazy_want wants[WANTS_MAX]; /* what VMs wait for */
	size_t n_wants;
};

static void filling_done(struct filling *f)
{
	session_done(&f->fill.session);
	session_done(&f->fault.session);
	chunk_ranges_done(&f->fill.ranges);
	chunk_ranges_done(&f->fault.ranges);
	assembly_done(&f->assembly);
	lazy_mount_done(&f->mount);
	auto_close(&f->dir_fd);
	auto_close(&f->source_fd);
	auto_close(&f->ranges_fd);
}
DEFINE_AUTO_DONE(filling, filling_done)

/* ---- before VMs start ---- */

int lazy_staged(void *arg, const struct artifact_staged *staged, struct mvm_error *err)
{
	struct lazy *lazy = arg;
	(void)err;
	lazy->staged = *staged;
	return 0;
}

/* Files that come last; a clone reads the others when it starts, all of them. */
static bool comes_last(const char *name)
{
	return str_eq(name, MEMORY) || str_eq(name, OWN_IMAGE_PATH) ||
	       artifact_lists(artifact_image_files, name);
}

static uint32_t number_of(const struct chunk_index *x, const char *name)
{
	const struct index_file *file = chunk_index_find(x, name);
	return file ? (uint32_t)(file - x->files) : UINT32_MAX;
}

/* Why no VM can start before all of it is here; NULL: one can. */
static const char *obstacle(const struct lazy *lazy, const struct chunk_index *x, const int *fds)
{
	const struct mvm_template_revision *rev = lazy->staged.rev;
	const uint32_t memory = number_of(x, MEMORY);

	if (!rev)
		return "there is no snapshot that may run here";
	if (!str_eq(mvm_snapshot_info_compat(&rev->snapshot, "backend"), "qemu"))
		return "only QEMU can start from a part of a snapshot";
	if (memory == UINT32_MAX || fds[memory] < 0)
		return "its memory is here";
	if (number_of(x, WORKING_SET) == UINT32_MAX)
		return "it has no record of the memory that a start needs";
	return NULL;
}

/* Plan the chunks with these pages. */
static void call_for_pages(struct filling *f, uint32_t memory, const struct working_set *set)
{
	uint64_t page = 0;

	while (page < set->n_pages) {
		if (!(set->bits[page / 8] >> page % 8 & 1)) {
			page++;
			continue;
		}
		uint64_t first = page, last = page;
		for (; page < set->n_pages && page - last <= GAP_PAGES; page++) {
			if (set->bits[page / 8] >> page % 8 & 1)
				last = page;
		}
		assembly_call_for(&f->assembly, memory, first * WORKING_SET_PAGE,
				  (last + 1 - first) * WORKING_SET_PAGE);
	}
}

static int call_for_working_set(struct filling *f, const int *fds, struct mvm_error *err)
{
	const struct chunk_index *x = f->assembly.index;
	const uint32_t memory = number_of(x, MEMORY);
	const struct index_file *file = chunk_index_find(x, WORKING_SET);
	AUTO_DONE(working_set) set = { 0 };

	if (file->bytes > INDEX_MAX_BYTES)
		return mvm_error_set(err, -EFBIG, "its working set is too large");
	AUTO_FREE char *text = malloc((size_t)file->bytes + 1);
	if (!text)
		return mvm_error_oom(err);
	if (file_read_range(fds[file - x->files], text, (size_t)file->bytes, 0) !=
	    (ssize_t)file->bytes)
		return mvm_error_set(err, -EIO, "cannot read its working set");
	int r = working_set_parse(text, (size_t)file->bytes, x->files[memory].bytes, &set, err);
	if (r == 0)
		call_for_pages(f, memory, &set);
	return r;
}

/* Fetch what a clone needs to start. */
static int fetch_first(struct filling *f, const int *fds, struct mvm_error *err)
{
	const struct chunk_index *x = f->assembly.index;

	assembly_put_off(&f->assembly, true);
	for (uint32_t i = 0; i < x->n_files; i++) {
		if (fds[i] < 0)
			continue;
		/* QEMU looks for a partition table at the beginning of each disk */
		assembly_call_for(&f->assembly, i, 0,
				  comes_last(x->files[i].name) ? 1 : x->files[i].bytes);
	}
	int r = pull_files_fetch(f->files, &f->assembly, f->ranges_fd, f->result, err);
	if (r == 0)
		r = call_for_working_set(f, fds, err);
	return r < 0 ? r : pull_files_fetch(f->files, &f->assembly, f->ranges_fd, f->result, err);
}

/* Show the revision, and hand it to whoever starts VMs. */
static int show(struct filling *f, struct mvm_error *err)
{
	const struct lazy *lazy = f->lazy;

	int r = lazy_mount_start(&f->mount, &f->dir_fd, &f->source_fd, err);
	return r < 0 ? r
		     : lazy->on_ready(lazy->arg, lazy->staged.rev->revision_hash, f->dir_fd,
				      f->source_fd, err);
}

/* ---- while VMs run ---- */

/* Take the chunks of a fetch that has ended. */
static int take(struct filling *f, struct line *line, struct mvm_error *err)
{
	int damaged = 0;

	line->busy = false;
	for (size_t i = 0; i < line->ranges.n; i++) {
		int r = assembly_take_range(&f->assembly, f->ranges_fd, &line->ranges.v[i], err);
		if (r < 0)
			return r;
		damaged += r;
	}
	f->result->moved_bytes += line->ranges.bytes;
	line->damaged = damaged ? line->damaged + 1 : 0;
	lazy_mount_tell(&f->mount, LAZY_MORE, NULL);
	return line->damaged < DAMAGED_MAX
		       ? 0
		       : mvm_error_set(err, -EBADMSG, "what the registry of %s sends is damaged",
				       pull_name(f->files->pull));
}

/* Begin to fetch the planned chunks.  1, or 0: none are missing. */
static int begin(struct filling *f, struct line *line, size_t most, uint64_t longest,
		 struct mvm_error *err)
{
	chunk_ranges_done(&line->ranges);
	int r = assembly_plan_first(&f->assembly, most, longest, &line->ranges, err);
	if (r < 0 || line->ranges.n == 0)
		return r;
	r = pull_line_begin(f->files->pull, &line->session, f->assembly.index, line->ranges.v,
			    line->ranges.n, f->ranges_fd, err);
	line->busy = r == 0;
	return r < 0 ? r : 1;
}

/* What VMs wait for comes over a line of its own.  What that line brings twice does no harm. */
static int begin_faults(struct filling *f, struct mvm_error *err)
{
	if (f->fault.busy || f->n_wants == 0)
		return 0;
	assembly_put_off(&f->assembly, true);
	for (size_t i = 0; i < f->n_wants; i++)
		assembly_call_for(&f->assembly, (uint32_t)f->wants[i].file, f->wants[i].offset,
				  f->wants[i].bytes);
	int r = begin(f, &f->fault, FAULT_RANGES, FAULT_RANGE_BYTES, err);
	if (r == 0) /* all have come */
		f->n_wants = 0;
	return r;
}

/* The rest: the memory first. */
static int begin_fill(struct filling *f, struct mvm_error *err)
{
	const struct chunk_index *x = f->assembly.index;
	const uint32_t memory = number_of(x, MEMORY);

	if (f->fill.busy || f->assembly.n_missing == 0)
		return 0;
	assembly_put_off(&f->assembly, true);
	assembly_call_for(&f->assembly, memory, 0, x->files[memory].bytes);
	int r = begin(f, &f->fill, FILL_RANGES, FILL_RANGE_BYTES, err);
	if (r != 0)
		return r;
	assembly_put_off(&f->assembly, false);
	return begin(f, &f->fill, FILL_RANGES, FILL_RANGE_BYTES, err);
}

/* Note what VMs wait for.  Another want stays in the socket while there is no room. */
static void hear(struct filling *f)
{
	struct lazy_want want;

	while (f->n_wants < WANTS_MAX) {
		ssize_t n = recv(f->mount.control_fd, &want, sizeof(want), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n != (ssize_t)sizeof(want)) { /* mvm-lazy has ended */
			close(TAKE_FD(f->mount.control_fd));
			f->n_wants = 0;
			return;
		}
		want.file = lazy_mount_file(&f->mount, want.file);
		const uint64_t size = want.file < f->assembly.index->n_files
					      ? f->assembly.index->files[want.file].bytes
					      : 0;
		if (want.offset < size && want.bytes <= size - want.offset)
			f->wants[f->n_wants++] = want;
	}
}

static int step(struct filling *f, struct line *line, struct mvm_error *err)
{
	int r = session_blobs_step(&line->session, err);
	return r > 0 ? take(f, line, err) : r;
}

static int wait_for_more(struct filling *f, struct mvm_error *err)
{
	struct pollfd fds[] = {
		{ .fd = f->fill.busy ? f->fill.session.sock : -1, .events = POLLIN },
		{ .fd = f->fault.busy ? f->fault.session.sock : -1, .events = POLLIN },
		{ .fd = f->n_wants < WANTS_MAX ? f->mount.control_fd : -1, .events = POLLIN },
		{ .fd = f->mount.control_fd < 0 ? -1 : f->lazy->listen_fd, .events = POLLIN },
	};
	int r = 0;

	if (poll(fds, MVM_ARRAY_SIZE(fds), -1) < 0)
		return errno == EINTR ? 0 : mvm_error_set(err, -errno, "poll: %s", strerror(errno));
	if (fds[2].revents)
		hear(f);
	if (fds[3].revents && f->mount.control_fd >= 0)
		lazy_answer(f->lazy, f->files->id, f->dir_fd, f->source_fd);
	if (fds[1].revents)
		r = step(f, &f->fault, err);
	if (r == 0 && fds[0].revents)
		r = step(f, &f->fill, err);
	return r;
}

static int fetch_rest(struct filling *f, struct mvm_error *err)
{
	int r = 0;

	while (r >= 0 && f->assembly.n_missing) {
		r = begin_faults(f, err);
		if (r >= 0)
			r = begin_fill(f, err);
		if (r >= 0)
			r = wait_for_more(f, err);
	}
	session_done(&f->fill.session); /* they could still write to what is judged now */
	session_done(&f->fault.session);
	return r < 0 ? r : 0;
}

static int finish(struct filling *f, struct mvm_error *err)
{
	int r = fetch_rest(f, err);
	if (r == 0)
		r = pull_files_check(f->files, &f->assembly, err);
	if (r == 0)
		lazy_mount_tell(&f->mount, LAZY_WHOLE, NULL);
	return r;
}

/* ---- all of it ---- */

/* Everything up to the start of VMs.  -EOPNOTSUPP: it cannot be lazy. */
static int prepare(struct filling *f, const int *fds, const struct chunk_index *index,
		   struct mvm_error *err)
{
	int r = assembly_init(&f->assembly, index, fds, err);
	if (r == 0)
		r = lazy_map_make(&f->mount, &f->lazy->staged, index, fds, err);
	f->assembly.on_put = lazy_map_put;
	f->assembly.arg = &f->mount;
	if (r == 0)
		r = pull_files_take(f->files, &f->assembly, f->ranges_fd, f->result, err);
	if (r == 0)
		r = fetch_first(f, fds, err);
	return r < 0 ? r : show(f, err);
}

static int pull_whole(const struct lazy *lazy, const struct artifact *a, const int *fds,
		      const char *why, struct mvm_artifact_result *result, struct mvm_error *err)
{
	if (why)
		progress_note(lazy->files->progress, "VMs start when all of it is here: %s", why);
	return pull_files((void *)lazy->files, a, fds, result, err);
}

int lazy_fill(void *arg, const struct artifact *a, const int *fds,
	      struct mvm_artifact_result *result, struct mvm_error *err)
{
	struct lazy *lazy = arg;
	struct mvm_error why = { 0 };
	AUTO_DONE(filling) f = { .lazy = lazy,
				 .files = lazy->files,
				 .mount = LAZY_MOUNT_NONE,
				 .dir_fd = -1,
				 .source_fd = -1,
				 .ranges_fd = -1,
				 .result = result,
				 .fill.session = SESSION_NONE,
				 .fault.session = SESSION_NONE };
	const uint64_t reused = result->reused_bytes;
	const char *no = obstacle(lazy, &a->index, fds);

	if (no)
		return pull_whole(lazy, a, fds, no, result, err);
	f.ranges_fd = pull_ranges_open(f.files->pull, err);
	if (f.ranges_fd < 0)
		return f.ranges_fd;
	int r = prepare(&f, fds, &a->index, &why);
	if (r == -EOPNOTSUPP) {
		result->reused_bytes = reused;
		return pull_whole(lazy, a, fds, why.text, result, err);
	}
	if (r == 0)
		r = finish(&f, &why);
	if (r < 0) {
		lazy_mount_tell(&f.mount, LAZY_LOST, why.text);
		return mvm_error_hand_on(err, &why);
	}
	chunk_lists_keep(f.files->mvm->store, &a->index, fds);
	return 0;
}
