# SPDX-License-Identifier: Apache-2.0
"""Makes the training text: Debian packages -> facts and glosses -> documents."""
