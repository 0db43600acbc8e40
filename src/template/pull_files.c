/* SPDX-License-Identifier: Apache-2.0 */
#include "template/pull_files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "artifact/assembly.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/progress.h"
#include "template/chunk_lists.h"

/* A chunk that came damaged is fetched once more. */
#define FETCHES_MAX 2

static uint64_t wanted_bytes(const struct chunk_index *x, const int *fds)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < x->n_files; i++)
		bytes += fds[i] >= 0 ? chunk_index_data(x, &x->files[i]) : 0;
	return bytes;
}

int pull_files_take(const struct pull_files *p, struct assembly *a, int ranges_fd,
		    struct mvm_artifact_result *result, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	char found[24], all[24];
	uint64_t bytes = 0;

	progress_begin(&step, p->progress, "looking for chunks of %s that are here",
		       pull_name(p->pull));
	int r = assembly_take_packed(a, ranges_fd, &step, err);
	if (r == 0 && a->n_missing)
		r = chunk_lists_take(p->mvm, p->id, a, &step, &bytes, err);
	if (r < 0)
		return r;
	step.done_bytes = 0;
	result->reused_bytes += bytes;
	str_bytes(bytes, found, sizeof(found));
	str_bytes(wanted_bytes(a->index, a->fds), all, sizeof(all));
	progress_end(&step, "%s of %s", found, all);
	return 0;
}

static int fetch_ranges(const struct pull_files *p, const struct chunk_index *index,
			const struct chunk_ranges *ranges, int ranges_fd, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	char size[24], rate[24];

	str_bytes(ranges->bytes, size, sizeof(size));
	progress_begin(&step, p->progress, "pulling %s: %s in %zu ranges", pull_name(p->pull), size,
		       ranges->n);
	int64_t began = clock_now_ns();
	int r = pull_ranges(p->pull, index, ranges, ranges_fd, &step, err);
	if (r < 0)
		return r;
	int64_t ms = (clock_now_ns() - began) / NS_PER_MS + 1;
	str_bytes(ranges->bytes * 1000 / (uint64_t)ms, rate, sizeof(rate));
	progress_end(&step, "%s a second", rate);
	return 0;
}

/* The chunks that are missing after a fetch, and the first file that lacks some. */
static uint32_t count_damaged(const struct assembly *a, const char **ret_name)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < a->index->n_files; i++) {
		uint32_t of_file = assembly_lacks(a, &a->index->files[i]);
		if (of_file && n == 0)
			*ret_name = a->index->files[i].name;
		n += of_file;
	}
	return n;
}

static int still_damaged(const struct pull_files *p, const struct assembly *a,
			 struct mvm_error *err)
{
	const char *name = "";
	const uint32_t n = count_damaged(a, &name);

	int r = mvm_error_set(err, -EBADMSG,
			      "%u chunks of '%s' and other files do not have their digests", n,
			      name);
	return mvm_error_hint(err, r,
			      "the registry of %s, or a proxy before it, sends wrong bytes: try "
			      "again, or tell its operator",
			      pull_name(p->pull));
}

int pull_files_fetch(const struct pull_files *p, struct assembly *a, int ranges_fd,
		     struct mvm_artifact_result *result, struct mvm_error *err)
{
	for (int i = 0;; i++) {
		AUTO_DONE(chunk_ranges) ranges = { 0 };
		AUTO_DONE(progress_step) step = { 0 };
		const char *name;
		int r = assembly_plan(a, PULL_RANGES_MAX, &ranges, err);
		if (r < 0 || ranges.n == 0)
			return r;
		if (i == FETCHES_MAX)
			return still_damaged(p, a, err);
		if (i > 0)
			progress_note(p->progress,
				      "%s: %u chunks came damaged, and are fetched again",
				      pull_name(p->pull), count_damaged(a, &name));
		r = fetch_ranges(p, a->index, &ranges, ranges_fd, err);
		if (r < 0)
			return r;
		result->moved_bytes += ranges.bytes;
		progress_begin(&step, p->progress, "unpacking %s", pull_name(p->pull));
		r = assembly_take_packed(a, ranges_fd, &step, err);
		if (r < 0)
			return r;
		progress_end(&step, NULL);
	}
}

/* The registry sends no parts of blobs. */
static int fetch_whole(const struct pull_files *p, const struct artifact *a, const int *fds,
		       struct mvm_artifact_result *result, struct mvm_error *err)
{
	struct index_part parts[INDEX_MAX_PARTS];
	size_t n = 0;

	pull_ranges_drop(p->pull);
	result->moved_bytes = 0;
	for (uint32_t i = 0; i < a->index.n_files; i++) {
		const struct index_file *file = &a->index.files[i];
		if (fds[i] < 0)
			continue;
		if (ftruncate(fds[i], 0) < 0)
			return mvm_error_set(err, -errno, "cannot write '%s': %s", file->name,
					     strerror(errno));
		for (uint32_t k = 0; k < file->n_parts; k++)
			parts[n++] = a->index.parts[file->first_part + k];
	}
	int r = pull_parts(p->pull, parts, n, p->dir_fd, err);
	return r < 0 ? r
		     : artifact_unpack_files(a, fds, pull_name(p->pull), p->progress,
					     &result->moved_bytes, err);
}

int pull_files_check(const struct pull_files *p, const struct assembly *files,
		     struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	int r = 0;

	progress_begin(&step, p->progress, "checking %s", pull_name(p->pull));
	for (uint32_t i = 0; r == 0 && i < files->index->n_files; i++) {
		if (files->fds[i] >= 0 &&
		    !artifact_lists(artifact_image_files, files->index->files[i].name))
			r = assembly_check(files, i, &step, err);
	}
	if (r == 0)
		progress_end(&step, NULL);
	return r;
}

int pull_files(void *arg, const struct artifact *a, const int *fds,
	       struct mvm_artifact_result *result, struct mvm_error *err)
{
	const struct pull_files *p = arg;
	AUTO_DONE(assembly) files = { 0 };
	const uint64_t reused = result->reused_bytes, wanted = wanted_bytes(&a->index, fds);
	struct mvm_error why = { 0 };

	AUTO_CLOSE int ranges_fd = wanted ? pull_ranges_open(p->pull, err) : -1;
	if (wanted && ranges_fd < 0)
		return ranges_fd;
	int r = assembly_init(&files, &a->index, fds, err);
	if (r == 0 && wanted)
		r = pull_files_take(p, &files, ranges_fd, result, err);
	if (r == 0)
		r = pull_files_fetch(p, &files, ranges_fd, result, &why);
	if (r == -EOPNOTSUPP) {
		progress_note(p->progress, "%s; pulling whole files", why.text);
		result->reused_bytes = reused;
		return fetch_whole(p, a, fds, result, err);
	}
	if (why.code)
		return mvm_error_hand_on(err, &why);
	if (r == 0)
		r = pull_files_check(p, &files, err);
	if (r < 0)
		return r;
	chunk_lists_keep(p->mvm->store, &a->index, fds);
	return 0;
}
