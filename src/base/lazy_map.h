/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LAZY_MAP_H
#define BASE_LAZY_MAP_H

/* What mvm-pull and mvm-lazy tell each other and the supervisors of VMs about a revision that is
 * still being pulled. */

#include <stdint.h>

/* The descriptors of mvm-lazy. */
enum lazy_fd {
	LAZY_FD_CONTROL,  /* SOCK_SEQPACKET to mvm-pull: struct lazy_want there, struct lazy_news
			     back */
	LAZY_FD_FUSE = 3, /* /dev/fuse, mounted */
	LAZY_FD_MAP,	  /* struct lazy_map, for reading */
	LAZY_FD_SOURCE,	  /* SOCK_SEQPACKET to VMs: how the pull ended, one struct lazy_news */
	LAZY_FD_FILES,	  /* those of the map, in its order, for reading */
};

#define LAZY_FILES_MAX 64u
#define LAZY_NAME_SIZE 64u
#define LAZY_BLOCK     4096u
#define LAZY_ALL       UINT64_MAX

struct lazy_file {
	char name[LAZY_NAME_SIZE]; /* "vmlinux" or "snapshot/mem.bin" */
	uint64_t bytes;
	uint64_t first_bit; /* of its blocks in the map; LAZY_ALL: all of it is here */
};

/* Shared memory.  mvm-pull sets bits and changes nothing else. */
struct lazy_map {
	uint64_t n_words; /* of bits */
	uint64_t n_files;
	struct lazy_file files[LAZY_FILES_MAX];
	uint64_t bits[]; /* block i of a file is here: bit first_bit + i, lowest first */
};

struct lazy_want {
	uint64_t file;
	uint64_t offset, bytes;
};

enum lazy_what {
	LAZY_MORE,  /* look at the map again */
	LAZY_WHOLE, /* every file is all here */
	LAZY_LOST,  /* nothing more will come */
};
#define LAZY_TEXT_SIZE 400u
struct lazy_news {
	uint32_t what;
	char text[LAZY_TEXT_SIZE]; /* LOST: why */
};

/* A read waits at most so long.  mvm-pull gives up earlier, and says why. */
#define LAZY_PATIENCE_S 60

#endif
