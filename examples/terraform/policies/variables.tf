variable "installation" {
  description = "Name of the installation: `installation` of the chart, by default the UID of the Namespace kube-system."
  type        = string
  validation {
    condition     = can(regex("^[A-Za-z0-9+=._:/@ -]{1,256}$", var.installation))
    error_message = "The installation must be the value of an AWS tag, without *, ? and $."
  }
}

variable "namespaces" {
  description = "Namespaces with routes; each gets a role for workers and one for replays."
  type        = set(string)
  validation {
    condition     = alltrue([for each in var.namespaces : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", each))])
    error_message = "Each must be the name of one namespace; patterns are not allowed."
  }
}

variable "account" {
  description = "AWS account of queues and tables."
  type        = string
}

variable "region" {
  description = "AWS region of queues and tables."
  type        = string
}

variable "partition" {
  description = "aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"
}

variable "kms_key_arns" {
  description = "ARNs of the KMS keys of queues and tables: `aws.kmsKeyArn` of the chart, and those of `spec.encryption` of routes."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for each in var.kms_key_arns : can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", each))])
    error_message = "Each must be the ARN of a key, not of an alias."
  }
}
