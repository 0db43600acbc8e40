/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_BUILDER_H
#define BUILD_BUILDER_H

/*
 * Builders make a root filesystem image, and perhaps a kernel and an initrd, from a flake_ref.
 * Each kind of source has one const struct, listed in builder.c.  The prefix of the flake_ref
 * ("dir:") selects it.
 *
 * A build is: builder_find, prepare, lock (the build cache's key), fetch, build.
 */

#include "model/template.h"
#include <mvm/digest.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/own.h"
#include "base/progress.h"
#include "image/kernel.h"
#include "store/store.h"

/* The input of a build.  Borrowed. */
struct build_source {
	struct store *store;
	const char *template_id;
	const char *flake_ref; /* as the spec has it */
	const char *path;      /* flake_ref without the builder's prefix */
	const char *profile, *role;
	const struct mvm_progress *progress; /* may be NULL */
	struct progress_step *step;	     /* build(): the step to report to; may be NULL */
	bool allow_pre_build, update_hash;   /* struct mvm_build_options */
	uint64_t max_image_bytes;	     /* struct mvm_build_options too */
};

/* The state of a source that a build depends on. */
struct build_lock {
	struct mvm_digest lock;	  /* flake_lock_hash */
	struct mvm_digest source; /* of further input that decides the bytes; zero: none */
	struct mvm_digest index;  /* docker://: which led to the lock's manifest; zero: none */
	char *attribute;	  /* Nix; NULL for others */
	bool impure;		  /* one lock may give several results: never cached */
};
void build_lock_done(struct build_lock *l);
DEFINE_AUTO_DONE(build_lock, build_lock_done)

/* The results of a build besides the root filesystem. */
struct build_product {
	struct mvm_run run; /* the image's own settings; the template's override them */
	int kernel_fd;	    /* a folder of kernel_import(), kernel.h; -1: no kernel */
	struct kernel_info kernel;
	bool has_initrd; /* the file BUILD_INITRD_NAME in work_fd */
	uint64_t nix_closure_bytes;
	uint64_t unpacked_bytes; /* of the image's archives */
	bool pulled; /* the store keeps the image that the lock names (store/images.h) */
};
#define BUILD_INITRD_NAME "initrd"
#define BUILD_PRODUCT_NONE                                                                         \
	{                                                                                          \
		.kernel_fd = -1                                                                    \
	}
void build_product_done(struct build_product *p);
DEFINE_AUTO_DONE(build_product, build_product_done)

struct builder {
	const char *name;   /* as in revision.json's build.builder */
	const char *prefix; /* of flake_ref, with the colon */
	bool brings_kernel; /* may deliver a kernel: the build need not find one */
	bool brings_initrd; /* may deliver an initrd */

	/*
	 * Run the user's steps that may change the source.  NULL: there are none.  Not called in a
	 * dry run.
	 */
	int (*prepare)(const struct build_source *source, struct mvm_error *err);

	/*
	 * Compute the lock of the source, which covers everything that it contributes to the bytes.
	 * Reads, builds nothing.
	 *
	 *   ret  zero; filled in on success, and build_lock_done() by the caller in every case
	 */
	int (*lock)(const struct build_source *source, struct build_lock *ret,
		    struct mvm_error *err);

	/*
	 * Fetch what build() reads from far away, in steps of its own.  NULL: nothing.
	 *
	 *   work_fd  an empty folder in staging, which build() gets
	 */
	int (*fetch)(const struct build_source *source, const struct build_lock *lock, int work_fd,
		     struct mvm_error *err);

	/*
	 * Write the image into out_fd.
	 *
	 *   lock     result of lock(); -EBUSY when the source has changed since
	 *   out_fd   an empty regular file, open for reading and writing
	 *   work_fd  a folder for the builder's own files, empty but for fetch()'s, removed
	 *            afterwards; borrowed
	 *   ret      BUILD_PRODUCT_NONE; build_product_done() by the caller in every case
	 */
	int (*build)(const struct build_source *source, const struct build_lock *lock, int out_fd,
		     int work_fd, struct build_product *ret, struct mvm_error *err);
};

extern const struct builder nix_builder; /* for every flake_ref without a prefix of ours */

/* Find the builder for a flake_ref; ret_path points into it. */
void builder_find(const char *flake_ref, const struct builder **ret, const char **ret_path);

/* Refuse an image in another program's storage: -EOPNOTSUPP, and the text has the command that gets
 * the image.  0 for all other sources. */
int builder_refuse_remote(const char *flake_ref, struct mvm_error *err);

/* Describe a source that has changed since lock().  Returns -EBUSY. */
int build_source_changed(const struct build_source *source, struct mvm_error *err);

#endif
