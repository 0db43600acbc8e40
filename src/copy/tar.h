/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_TAR_H
#define COPY_TAR_H

/*
 * The tar format of copies: POSIX.1-2001 (pax), and the ustar and GNU forms in common use, with
 * sparse files in all of GNU's forms.  This module only handles headers; unpack.c and pack.c
 * handle files.
 *
 * Both the guest's agent and mvm run this code, and neither trusts the other side's stream.  So
 * every size is bounded, and no number in the stream decides an allocation.  Names are passed on
 * unchanged: the caller checks them before making paths of them.
 *
 * Source: POSIX.1-2017, pax(1p), "pax Interchange Format" and "ustar Interchange Format"; the GNU
 * tar manual, "Basic Tar Format", for types 'L', 'K' and 'S' and base-256 numbers.
 */

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/str.h"
#include "copy/tar_map.h"

#define TAR_BLOCK     512u
#define TAR_PATH_MAX  4095u
#define TAR_EXTRA_MAX 65536u /* pax records or a long name before one entry */

enum tar_type {
	TAR_FILE,
	TAR_FOLDER,
	TAR_SYMLINK,
	TAR_HARDLINK,
	TAR_SPECIAL, /* read: a device, a pipe, or something that this code does not know */
	/* written only */
	TAR_CHAR,
	TAR_BLOCK_DEVICE,
	TAR_PIPE,
};

struct tar_entry {
	enum tar_type type;
	const char *path;   /* as in the archive; at most TAR_PATH_MAX bytes */
	const char *target; /* of links, else "" */
	mode_t mode;	    /* 07777 */
	uint64_t size;	    /* files; others: 0 */
	int64_t mtime_s;
	uint32_t mtime_ns;
	const struct tar_map *map; /* of a sparse file; NULL: the contents have no holes */
	/* written only */
	uint32_t uid, gid;
	uint32_t major, minor;	     /* devices */
	const struct strbuf *xattrs; /* made by tar_write_xattr(); NULL: none */
};

/* Bytes of contents that follow the header. */
static inline uint64_t tar_stored_bytes(const struct tar_entry *e)
{
	return e->map ? e->map->stored : e->size;
}

/* Append the header blocks of an entry, with a pax header first if ustar has no room. */
void tar_write_header(struct strbuf *to, const struct tar_entry *e);

/* Append an extended attribute to the records of an entry's pax header.  name: without '='. */
void tar_write_xattr(struct strbuf *records, const char *name, const void *value, size_t len);

/* Append the zeros that fill the last block after size bytes of contents. */
void tar_write_padding(struct strbuf *to, uint64_t size);

/* Append the end of the archive. */
void tar_write_end(struct strbuf *to);

/* Receiver of entries and contents.  A callback that fails stops the reader. */
struct tar_sink {
	/* The next entry; valid during the call. */
	int (*entry)(void *arg, const struct tar_entry *e, struct mvm_error *err);
	/* A piece of the contents of the last entry, which was a file, and its offset there. */
	int (*data)(void *arg, uint64_t at, const void *data, size_t len, struct mvm_error *err);
	void *arg;
};

/* A reader that is fed in pieces.  Initialise it with zeros and sink. */
struct tar_reader {
	struct tar_sink sink;
	struct strbuf block; /* a header or extended header, until it is whole */
	size_t want;	     /* wanted bytes in block; 0: TAR_BLOCK */
	char extra_type;     /* block is an extended header: 'x', 'g', 'L' or 'K'; 0: a header */
	uint64_t extra_size;
	bool is_sparse; /* the current file */
	struct tar_map map;
	uint64_t real_size;
	bool in_map; /* blocks of the map come, which belong to this header: */
	char header[TAR_BLOCK];
	uint64_t header_size;
	size_t extent;	  /* of the next piece of contents */
	uint64_t at;	  /* its offset there, or in a file that is not sparse */
	uint64_t left;	  /* bytes of contents still to come */
	uint32_t padding; /* zeros after the contents still to come */
	bool skip;	  /* drop the contents */
	bool ended;	  /* the archive's end was read; further bytes are ignored */
	int failed;	  /* the error that stopped it; 0: none */
	/* from extended headers, for the next entry */
	struct tar_sparse { /* in pax form (tar_sparse.h) */
		bool any, has_size, has_count;
		bool half; /* an extent's offset has come, its length has not */
		uint64_t size, major, minor, offset;
		char *name;
		uint64_t count, number; /* of version 1.0's map */
		unsigned digits;
	} sparse;
	char *path, *target;
	bool has_size, has_mtime;
	uint64_t size;
	int64_t mtime_s;
	uint32_t mtime_ns;
};

/*
 * Read the next piece.
 *
 * Returns 0; -EBADMSG (damaged, or over a limit), -ENOMEM, or the sink's error.  After a failure it
 * returns the failure again.
 */
int tar_read(struct tar_reader *r, const void *data, size_t len, struct mvm_error *err);

/* End the input.  -EBADMSG when the archive is cut short. */
int tar_read_end(struct tar_reader *r, struct mvm_error *err);

void tar_reader_done(struct tar_reader *r);
DEFINE_AUTO_DONE(tar_reader, tar_reader_done)

#endif
