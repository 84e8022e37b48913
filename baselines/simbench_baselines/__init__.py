"""The generators that simbench's reference models are compared with, registered as any third party's are."""
