/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_LIST_INDEX_H
#define TEMPLATE_LIST_INDEX_H

/*
 * The index of templates, cache/templates.index.  With it a listing reads only the templates whose
 * files have changed.
 *
 * The file is a header and one record for each template, struct list_record, sorted by id.  Each
 * record has a sum over itself.  Reading ends at the first record that is damaged or out of order;
 * the listing reads the remaining templates from their own files.  If something changed, the
 * listing replaces the index by rename, and does not sync it.
 *
 * A record holds the stat(2) of the files that it was made from.  Two edits within one tick of the
 * file system's clock look the same.  So a file gets no record if it changed less than LIST_RACY_NS
 * before it was read, by the file system's clock (git's rule: racy-git in its technical
 * documentation).
 *
 *	struct list_index ix;
 *	list_index_open(s, &ix);
 *	for each id in order:
 *		record = list_index_find(&ix, id);
 *		if record and its files are as they were:
 *			list_index_keep(&ix);
 *		else:
 *			now_ns = list_index_now(&ix);
 *			... read the files ...
 *			list_index_add(&ix, &new_record);	if it may be recorded
 *	list_index_save(&ix);
 *	list_index_done(&ix);
 *
 * None of this can fail: without an index, a listing reads every template.
 */

#include <mvm/store.h>
#include <stdio.h>

#include "start/context.h"

/* Some file systems count seconds. */
#define LIST_RACY_NS (INT64_C(2) * 1000 * 1000 * 1000)

struct list_key {
	uint64_t ino, size;
	int64_t mtime_ns, ctime_ns;
};

/* The file's format; unused bytes are zero. */
struct list_record {
	uint64_t sum;
	struct list_key spec;	  /* template.json */
	struct list_key revision; /* the current revision's revision.json; zero without one */
	int64_t built_at;
	uint64_t rootfs_bytes, snapshot_mem_bytes;
	uint32_t mem_mib, data_disk_mib, root_disk_mib;
	uint8_t vcpus;
	uint8_t has_snapshot;
	uint8_t zero[4]; /* no padding */
	char id[64], role[64], profile[64];
	char current[70]; /* "": nothing was built */
};
_Static_assert(sizeof(struct list_record) == 376, "no padding, and the version tells apart others");

struct list_index {
	struct store *store;
	FILE *old, *new;
	struct list_record next; /* of the old file */
	bool have_next;
	size_t n_kept; /* records at the beginning of the old file that stay */
	bool dirty;    /* the new file will replace the old one, and has the kept records */
	bool failed;   /* no new file will be written */
	int64_t now_ns;
};

void list_index_open(struct store *s, struct list_index *ret);

/* mvm_template_list() with another LIST_RACY_NS, for tests, which do not wait. */
int template_list(struct mvm *mvm, int64_t racy_ns, mvm_template_fn fn, void *arg,
		  struct mvm_error *err);

/* The old record of a template, or NULL; valid until the next call. */
const struct list_record *list_index_find(struct list_index *ix, const char *id);

/* Keep the record that list_index_find() returned. */
void list_index_keep(struct list_index *ix);

/* A time before now by the file system's clock; INT64_MIN: the listing can record nothing. */
int64_t list_index_now(struct list_index *ix);

/* Add a record, in place of the one that list_index_find() returned, if any.  Sets its sum. */
void list_index_add(struct list_index *ix, struct list_record *record);

/* Write the new index, after the last template. */
void list_index_save(struct list_index *ix);

void list_index_done(struct list_index *ix);
DEFINE_AUTO_DONE(list_index, list_index_done)

#endif
