/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_LAZY_H
#define TEMPLATE_LAZY_H

/*
 * A pull whose revision starts VMs before it is whole.
 *
 * mvm-pull runs template_pull() with a struct lazy.  Once the manifest, the index and the
 * signatures are judged, it fetches what a clone needs: the snapshot's small files, its disks and
 * the recorded working set of its memory.  Then it shows the revision's folder through mvm-lazy,
 * hands a descriptor of it over, and fetches the rest: first what VMs wait for, then the memory,
 * then the image.  In the end it publishes the revision as every pull does.  VMs that have started
 * keep the folder of mvm-lazy, which reads the same files.
 *
 * Where that is not possible, it is an ordinary pull, and a note says why.
 */

#include "template/artifact.h"

#include "pull/pull.h"

struct pull_files;

/* A revision that VMs may start from, as its folder and the end of its pull (base/lazy_map.h).
 * Both descriptors are the receiver's. */
struct lazy {
	int (*on_ready)(void *arg, const char *hash, int dir_fd, int source_fd,
			struct mvm_error *err);
	void *arg;
	/* the others are set here, and end with lazy_done() */
	int listen_fd; /* of lazy_join.c; -1: none */
	const struct pull_files *files;
	struct artifact_staged staged; /* rev NULL: no snapshot comes that may run here */
};

static inline void lazy_done(struct lazy *l)
{
	auto_close(&l->listen_fd);
}
DEFINE_AUTO_DONE(lazy, lazy_done)

/* pull.c: pull an artifact.  lazy: NULL: VMs start when it is whole. */
int template_pull(struct mvm *mvm, const char *from, const struct mvm_pull_options *options,
		  struct lazy *lazy, const struct mvm_progress *progress,
		  struct mvm_artifact_result *result, struct mvm_error *err);

/* As `staged` and `fill` of struct artifact_receive; arg: a struct lazy. */
int lazy_staged(void *arg, const struct artifact_staged *staged, struct mvm_error *err);
int lazy_fill(void *arg, const struct artifact *a, const int *fds,
	      struct mvm_artifact_result *result, struct mvm_error *err);

/* ---- lazy_join.c ---- */

/*
 * Take the turn of an artifact and let others join, or join the process that has it.
 *
 *   dir_fd  the pull's staging folder
 *
 * Returns 0, or 1 once on_ready has been called: another process pulls.
 */
int lazy_join(struct mvm *mvm, struct pull *p, const struct mvm_digest *manifest, int dir_fd,
	      const char *id, struct lazy *lazy, const struct mvm_progress *progress,
	      struct mvm_error *err);

/* Answer all that wait to join: VMs can start.  id: the template's.  The descriptors are
 * borrowed. */
void lazy_answer(const struct lazy *lazy, const char *id, int dir_fd, int source_fd);

/* ---- lazy_mount.c ---- */

struct lazy_map;

/* The files that are shown, and mvm-lazy, which shows them. */
struct lazy_mount {
	struct lazy_map *map;
	size_t map_bytes;
	int map_fd;	/* the same memory, for reading */
	int control_fd; /* to mvm-lazy; -1: it does not run */
	uint64_t first_bits[INDEX_MAX_FILES];
	int fds[64]; /* of the files, in the map's order */
	size_t n_fds;
};
#define LAZY_MOUNT_NONE                                                                            \
	{                                                                                          \
		.map_fd = -1, .control_fd = -1                                                     \
	}
void lazy_mount_done(struct lazy_mount *m);
DEFINE_AUTO_DONE(lazy_mount, lazy_mount_done)

/* Make the map of a revision's files.  Holes are here already.  fds: as of `fill`. */
int lazy_map_make(struct lazy_mount *m, const struct artifact_staged *staged,
		  const struct chunk_index *index, const int *fds, struct mvm_error *err);

/* As on_put of struct assembly; arg: a struct lazy_mount. */
void lazy_map_put(void *arg, uint32_t file, uint64_t offset, uint64_t bytes);

/* Mount FUSE and start mvm-lazy.  -EOPNOTSUPP, with the reason, where that is not possible. */
int lazy_mount_start(struct lazy_mount *m, int *ret_dir_fd, int *ret_source_fd,
		     struct mvm_error *err);

/* Tell mvm-lazy: enum lazy_what.  text: of LAZY_LOST, else NULL. */
void lazy_mount_tell(struct lazy_mount *m, unsigned what, const char *text);

/* The number of the index's file that is shown under this number; UINT32_MAX: none of it. */
uint32_t lazy_mount_file(const struct lazy_mount *m, uint64_t shown);

/* ---- background.c: mvm-pull ---- */

/* Serve one call of mvm, which comes over the socket.  Returns the program's exit status. */
int background_pull(int sock);

/*
 * mvm's side: have mvm-pull pull an artifact, and wait until VMs can start from it.
 *
 *   result  if the revision is published; else only its member `revision` is set
 *   ret_dir_fd, ret_source_fd   as of on_ready; unchanged if the revision is published
 */
int background_begin(struct mvm *mvm, const char *from, const struct mvm_pull_options *options,
		     const struct mvm_progress *progress, struct mvm_artifact_result *result,
		     int *ret_dir_fd, int *ret_source_fd, struct mvm_error *err);

#endif
