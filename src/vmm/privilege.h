/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_PRIVILEGE_H
#define VMM_PRIVILEGE_H

#include <stdbool.h>
#include <stdint.h>

/* Has this thread a capability (CAP_NET_ADMIN, ...; capabilities(7))?  Root in a container often
 * lacks some. */
bool privilege_has(unsigned capability);

/* Give up all but these capabilities, 1 << CAP_..., and have those through exec too.  0 or
 * -errno. */
int privilege_keep_only(uint64_t capabilities);

#endif
