/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_PRIVILEGE_H
#define VMM_PRIVILEGE_H

#include <stdbool.h>

/* Has this thread a capability (CAP_NET_ADMIN, ...; capabilities(7))?  Root in a container often
 * lacks some. */
bool privilege_has(unsigned capability);

#endif
