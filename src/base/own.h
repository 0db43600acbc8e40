/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_OWN_H
#define BASE_OWN_H

/*
 * Ownership by scope.
 *
 * A variable declared with one of the AUTO words releases its resource at the end of its scope.
 * TAKE_PTR and TAKE_FD hand the resource on instead and leave the variable empty.  Destructors
 * accept NULL (or -1), so an empty variable costs nothing.
 */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void auto_free(void *p)
{
	free(*(void **)p);
}

static inline void auto_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd); /* data that must reach the disk was fsynced before */
}

static inline void auto_closedir(DIR **d)
{
	if (*d)
		closedir(*d);
}

static inline void auto_fclose(FILE **f)
{
	if (*f)
		fclose(*f); /* writers check ferror and fclose themselves */
}

#define AUTO_FREE     __attribute__((cleanup(auto_free)))
#define AUTO_CLOSE    __attribute__((cleanup(auto_close)))
#define AUTO_CLOSEDIR __attribute__((cleanup(auto_closedir)))
#define AUTO_FCLOSE   __attribute__((cleanup(auto_fclose)))

/* For `struct tag` with a NULL-safe destructor: AUTO(tag) x = NULL; */
#define DEFINE_AUTO(tag, free_fn)                                                                  \
	static inline void auto_ptr_##tag(struct tag **p)                                          \
	{                                                                                          \
		free_fn(*p);                                                                       \
	}
#define AUTO(tag) __attribute__((cleanup(auto_ptr_##tag))) struct tag *

/* For an embedded `struct tag` with a destructor that takes its address: AUTO_DONE(tag) x = {0}; */
#define DEFINE_AUTO_DONE(tag, done_fn)                                                             \
	static inline void auto_done_##tag(struct tag *p)                                          \
	{                                                                                          \
		done_fn(p);                                                                        \
	}
#define AUTO_DONE(tag) __attribute__((cleanup(auto_done_##tag))) struct tag

/* The public destructor of an array of pointers to `struct tag`; NULL is fine when n is 0. */
#define DEFINE_LIST_FREE(name, tag, free_fn)                                                       \
	void name(struct tag **list, size_t n)                                                     \
	{                                                                                          \
		while (n > 0)                                                                      \
			free_fn(list[--n]);                                                        \
		free(list);                                                                        \
	}

#define TAKE_PTR(p)                                                                                \
	__extension__({                                                                            \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})
#define TAKE_FD(fd)                                                                                \
	__extension__({                                                                            \
		int taken_fd_ = (fd);                                                              \
		(fd) = -1;                                                                         \
		taken_fd_;                                                                         \
	})

#endif
