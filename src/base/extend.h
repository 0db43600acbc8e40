/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_EXTEND_H
#define BASE_EXTEND_H

/*
 * Structs of the public headers that may grow.  Each begins with `size_t size`, which the caller's
 * _INIT sets to the sizeof() that the caller was compiled with.  New members go to the end.  A new
 * member's zero means the behaviour from before the member existed.
 *
 * The rules are those of the kernel's extensible system calls (copy_struct_from_user(),
 * openat2(2)). A size of 0, as in `= { 0 }`, stands for the first published layout.
 */

#include <mvm/error.h>
#include <stddef.h>

/* Offset of a member's end: the size of the layout whose last member it was. */
#define STRUCT_END(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))

/* No struct of ours is larger; a larger size is uninitialised memory. */
#define STRUCT_SIZE_MAX ((size_t)4096)

/*
 * Copy a caller's struct into one of today's layout.
 *
 *   dst, dst_size  filled in whole; members that the caller lacks are zero, and the size member
 *                  becomes dst_size
 *   first_size     size of the first published layout
 *   src            the caller's struct, begins with its size_t size; NULL: all zero
 *
 * Returns 0.  Errors: -EOPNOTSUPP (the caller is newer and has set a member unknown here), -EINVAL
 * (no layout has that size).
 */
int mvm_struct_take(void *dst, size_t dst_size, size_t first_size, const void *src,
		    struct mvm_error *err);

/*
 * Fill a caller's result struct as far as its size reaches.
 *
 *   dst             begins with its size_t size, which stays; members unknown here become zero.  A
 *                   size that no layout has counts as first_size
 *   src, src_size   the result in today's layout
 */
void mvm_struct_give(void *dst, size_t first_size, const void *src, size_t src_size);

#endif
